# Shell functions shared by all scripts; sourced by parse_options.sh.
#
#   log MESSAGE                 a line with the time on stderr
#   die MESSAGE                 "SCRIPT: error: MESSAGE" on stderr, exit status 1
#   usage_error MESSAGE         the same for a wrong command line, exit status 2
#   need_file FILE...           die unless each exists, can be read and is not empty
#   need_data DATA-DIR          die unless it is a folder, whose utterances are whole files
#   need_command PROGRAM...     die unless each program is installed
#   write_atomically FILE COMMAND [ARG...]
#                               FILE becomes COMMAND's standard output, whole or not at all. COMMAND is a program or a
#                               shell function. It is given as arguments, not piped in, because the reading end of a
#                               pipe cannot know that the writing end failed. Call it as a statement of its own (bash
#                               ignores "set -e" inside what stands in an "if" or before "||"); it dies on failure.
#                               A pipeline goes into a function:  rows() { sort "$1" | uniq; };  write_atomically f rows g
#   $JOB                        the word that stands for the number of a job in the commands of the steps; not JOB, which
#                               the name of a folder may contain
#   cat_jobs PATTERN N          concatenate N files, PATTERN with $JOB replaced by 1 ... N:
#                               write_atomically data/train/feats.scp cat_jobs "$arkdir/fbank.$JOB.scp" "$nj"
#   jobs_for N FILE             N, or the number of lines of FILE where that is less (at least 1)
#   stamp OPTIONS [FILE...]     an md5 of the string OPTIONS and of the files' names and contents: s=$(stamp "$dim" f g)
#   is_done MARKER STAMP        true when MARKER holds STAMP and all outputs that were noted with it have their sizes
#   up_to_date MARKER STAMP WHAT
#                               the same; when true log "WHAT up to date", else remove MARKER: the outputs are redone
#   mark_done MARKER STAMP [OUTPUT...]
#                               make MARKER hold STAMP; note the names and sizes of the outputs that exist, so that one
#                               that is later deleted or cut short is noticed
#   split_list FILE N STEM      split FILE into N runs of lines of equal length: STEM.1.EXT ... STEM.N.EXT, with the
#                               extension of FILE
#   launch [--OPTION VALUE]... [$JOB=1:N] LOG COMMAND [ARG...]
#                               run the command with the launcher $cmd; its words may contain any text
#   launch_jobs LABEL GLOB [--OPTION VALUE]... [$JOB=1:N] LOG COMMAND [ARG...]
#                               the same, with a line of progress from the jobs' files that match GLOB
#   merge_failed NAME LOG-DIR PATTERN N WANTED MAX_SHARE
#                               after "launch_jobs": write LOG-DIR/NAME.failed from the N files of PATTERN, set $made to
#                               what is left of WANTED, and call report_lost; the jobs' markers are removed
#   remove_stale DIR...         remove temporary files of killed processes (.NAME.tmp.PID) from the folders
#   report_lost WANTED MADE MAX_SHARE LOGS [FAILED-FILE...]
#                               when MADE is less than WANTED say so, with the first reasons ("KEY REASON" lines of the
#                               files); die when more than MAX_SHARE of WANTED is lost, or all of it. LOGS is shown only.
#   hold_lock DIR DESCRIPTOR    hold the lock of a folder, open as this file descriptor, until this process and all its
#                               children have ended; wait for another run that holds it
#   as_typed WORD...            a command line, each word quoted if a shell needs it
#   ensembles_of EXP            lines 'NAME SYSTEM/MODE ...' of the ensembles and gates of a run
#   need_embeddings SYSTEM-DIR DATA-DIR
#                               set $embedded to the marker of the system's embeddings of the data, or die
#   corpus_of DATA-DIR          the name of the corpus: the word in the file "corpus" beside the data directory
#   code_revision               the commit of the toolkit, with "-dirty" for changes to tracked files; or none
#   show_warnings LABEL LOG...  say the first warnings that Python commands have left in their logs, where there are any
#   start_progress LABEL GLOB...  one line of progress from the files that match ("DONE TOTAL" in each)
#   stop_progress               end it
# shellcheck shell=bash

# The number of a closed standard stream would be that of the next file which a program opens.
[ -e /dev/fd/0 ] || exec </dev/null
[ -e /dev/fd/1 ] || exec >/dev/null
[ -e /dev/fd/2 ] || exec 2>/dev/null

_utils_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
_progress_pid=
JOB=__JOB__

log() { printf '%(%Y-%m-%d %H:%M:%S)T %s: %s\n' -1 "${0##*/}" "$*" >&2; }

die() {
  printf '%s: error: %s\n' "${0##*/}" "$*" >&2
  exit 1
}

usage_error() {
  printf '%s: error: %s\n' "${0##*/}" "$*" >&2
  exit 2
}

need_file() {
  local file
  for file; do
    [ -e "$file" ] || die "no such file: $file"
    [ ! -d "$file" ] || die "$file is a folder, not a file"
    [ -r "$file" ] || die "cannot read $file"
    [ -s "$file" ] || die "$file is empty"
  done
}

need_data() {
  [ -d "$1" ] || die "$1: no such data directory"
  [ ! -e "$1/segments" ] || die "$1/segments: not supported: cut the recordings into utterances"
}

# Set $_trial_files to the lists that define the trials of a data directory, and check them.
trial_files() {
  [ ! -f "$1/trials" ] || die "$1/trials: is a file: trial lists are in a folder of this name: move it to $1/trials/NAME"
  _trial_files=("$1/utt2spk" "$1"/trials/*)
  [ ! -f "$1/enroll" ] || _trial_files+=("$1/enroll")
  need_file "${_trial_files[@]}"
}

need_embeddings() {
  embedded=$1/embeddings/.${2##*/}.done
  [ -f "$embedded" ] || die "$1 has no embeddings of $2: run steps/extract_embeddings.sh first"
}

# True when one of these trial lists says which trials are targets.
any_labels() { awk 'NF > 2 {found = 1; exit} END {exit !found}' "$@"; }

need_command() {
  local program
  for program; do
    command -v "$program" >/dev/null || die "$program is not installed: run tools/setup.sh"
  done
}

# Set $_tmp to a temporary name beside $1; remove_stale knows it by this form.
_temporary_for() {
  case $1 in
    */*) _tmp=${1%/*}/.${1##*/}.tmp.$BASHPID ;;
    *) _tmp=.$1.tmp.$BASHPID ;;
  esac
}

write_atomically() {
  local file=$1 errexit=+e status _tmp
  shift
  _temporary_for "$file"
  case $- in *e*) errexit=-e ;; esac
  # In a subshell with "set -e", so that a function stops at its first failure as it would outside.
  set +e
  (
    set -e
    "$@"
  ) >"$_tmp"
  status=$?
  set "$errexit"
  if [ "$status" -ne 0 ]; then
    rm -f "$_tmp"
    die "$file is not written: '$*' failed with status $status"
  fi
  mv -f "$_tmp" "$file" || die "cannot write $file"
}

cat_jobs() {
  local n
  local -a files=()
  for ((n = 1; n <= $2; n++)); do files+=("${1//$JOB/$n}"); done
  cat -- "${files[@]}"
}

# The lines of a file, also where the last one has no end; wc counts ends of lines.
count_lines() { awk 'END {print NR}' "$1"; }

jobs_for() {
  local lines
  lines=$(count_lines "$2")
  ((lines < $1)) || lines=$1
  ((lines > 0)) || lines=1
  echo "$lines"
}

stamp() {
  local options=$1 file sums=
  shift
  for file; do [ -f "$file" ] || die "no such file: $file"; done
  [ $# -eq 0 ] || sums=$(md5sum -- "$@") || die "cannot read all of: $*"
  printf '%s\n%s\n' "$options" "$sums" | md5sum | cut -d ' ' -f 1
}

is_done() {
  local outputs=${1%.done}.outputs file
  local -a files=()
  [ -f "$1" ] && [ "$(<"$1")" = "$2" ] || return 1
  [ -f "$outputs" ] || return 0
  while read -r _ file; do files+=("$file"); done <"$outputs"
  [ ${#files[@]} -eq 0 ] || stat -L -c '%s %n' -- "${files[@]}" 2>/dev/null | cmp -s - "$outputs"
}

up_to_date() {
  if is_done "$1" "$2"; then
    log "$3 up to date"
    return 0
  fi
  rm -f "$1"
  return 1
}

# The sizes are kept in a file of their own: the stamps of later steps depend on the marker, and the sizes of arks on the
# number of jobs.
mark_done() {
  local marker=$1 stamp=$2 file
  local -a files=()
  shift 2
  for file; do [ ! -f "$file" ] || files+=("$file"); done
  if [ ${#files[@]} -gt 0 ]; then
    write_atomically "${marker%.done}.outputs" stat -L -c '%s %n' -- "${files[@]}"
  else
    rm -f "${marker%.done}.outputs"
  fi
  write_atomically "$marker" printf '%s\n' "$stamp"
}

split_list() {
  awk -v all="$(count_lines "$1")" -v jobs="$2" -v stem="$3" -v ext="${1##*.}" \
    '{ print > (stem "." int((NR - 1) * jobs / all) + 1 "." ext) }' "$1"
}

# A launcher hands the command to a shell. By Kaldi's contract a word without blanks arrives there as it is, so that \| and
# \> work, and a word with blanks in double quotes, or in single quotes if it contains double quotes. A word that the
# shell would not read back as it was is encoded here as $'...', without blanks; all other words stay as they are.
_encode_word() {   # <word> <name of the job range, or nothing>: sets $_encoded
  local active='[][!"#$&'"'"'()*;<>?`{|}~\]' character
  local -i n
  _encoded=$1
  [[ $1 != *[[:space:]]* ]] || active='[$`"\]'
  [[ $1 =~ $active || $1 == *$'\n'* ]] || return 0
  _encoded=
  for ((n = 0; n < ${#1}; n++)); do
    character=${1:n:1}
    [[ $character != [[:punct:][:space:]] || $character == [_./-] ]] || printf -v character '\\x%02x' "'$character"
    _encoded+=$character
  done
  # The launcher may put a shell variable in place of the range's name, which would not be expanded inside the quotes.
  [ -z "$2" ] || _encoded=${_encoded//$2/\'$2\$\'}
  _encoded="\$'$_encoded'"
}

launch() {
  local _encoded range=
  local -a words=()
  while [[ $1 == -* ]]; do words+=("$1" "$2"); shift 2; done
  if [[ $1 =~ ^[A-Za-z_][A-Za-z0-9_]*=[0-9]+:[0-9]+$ ]]; then range=${1%%=*} words+=("$1"); shift; fi
  words+=("$1")
  shift
  while [ $# -gt 0 ]; do
    _encode_word "$1" "$range"
    words+=("$_encoded")
    shift
  done
  # shellcheck disable=SC2154  # an option of the script that calls this
  $cmd "${words[@]}"
}

launch_jobs() {
  local label=$1 glob=$2
  shift 2
  compgen -G "$glob" | xargs -rd '\n' rm -f || true
  start_progress "$label" "$glob"
  launch "$@"
  stop_progress
}

merge_failed() {
  local name=$1 logdir=$2 wanted=$5
  write_atomically "$logdir/$name.failed" cat_jobs "$3" "$4"
  # What failed may be mended under the same name, so the next run must not count these jobs as done.
  rm -f "$logdir/.$name".*.done
  made=$((wanted - $(wc -l <"$logdir/$name.failed")))
  report_lost "$wanted" "$made" "$6" "$logdir/$name.failed" "$logdir/$name.failed"
}

# Write the command that made the contents of a folder to its command.txt.
write_command() {   # <folder> <word>...
  write_atomically "$1/command.txt" as_typed "${@:2}"
}

as_typed() {
  local word line=
  for word; do
    [[ $word =~ ^[A-Za-z0-9_./,:=%+@-]+$ ]] || word=${word@Q}
    line+=${line:+ }$word
  done
  printf '%s\n' "$line"
}

remove_stale() {
  local dir file pid
  for dir; do
    for file in "$dir"/.*.tmp.*; do
      pid=${file##*.}
      # A living process of this machine may still be writing its own.
      if [ -e "$file" ] && ! { [[ $pid =~ ^[0-9]+$ ]] && kill -0 "$pid" 2>/dev/null; }; then
        rm -rf "$file"
      fi
    done
  done
}

report_lost() {
  local wanted=$1 made=$2 max_share=$3 logs=$4 lost
  shift 4
  lost=$((wanted - made))
  [ "$lost" -gt 0 ] || return 0
  log "warning: $lost of $wanted lost, see $logs"
  [ $# -eq 0 ] || cat -- "$@" | head -n 3 | sed 's/^/  /' >&2
  if [ "$made" -eq 0 ] || awk -v lost="$lost" -v all="$wanted" -v max="$max_share" 'BEGIN {exit !(lost > max * all)}'; then
    die "$lost of $wanted lost, at most a share of $max_share may be: see $logs"
  fi
}

hold_lock() {
  eval "exec $2>\"\$1/.lock\""
  flock -n "$2" || { log "waiting: another run is working in $1"; flock "$2"; }
}

ensembles_of() {
  cat -- "$1/ensembles"
  [ ! -f "$1/gates" ] || cat -- "$1/gates"
}

corpus_of() {
  local file name
  file=$(dirname "$1")/corpus
  need_file "$file"
  read -r name <"$file"
  printf '%s\n' "$name"
}

code_revision() {
  local commit
  commit=$(git -C "$AVSV_ROOT" rev-parse --short HEAD 2>/dev/null) || { echo none; return; }
  [ -z "$(git -C "$AVSV_ROOT" status --porcelain --untracked-files=no)" ] || commit+=-dirty
  echo "$commit"
}

show_warnings() {
  local label=$1 index
  local -a lines
  shift
  mapfile -t lines < <(cat -- "$@" 2>/dev/null | sed -n 's/^.*: UserWarning: //p' | sort -u)
  for ((index = 0; index < ${#lines[@]} && index < 3; index++)); do log "warning: $label: ${lines[index]}"; done
  [ ${#lines[@]} -le 3 ] || log "warning: $label: $((${#lines[@]} - 3)) more warnings in $*"
}

start_progress() {
  local parent=$BASHPID   # in the background it would be another
  "$_utils_dir/progress.py" --parent "$parent" --label "$1" "${@:2}" &
  _progress_pid=$!
  # When the script fails in between, the line ends before the shell's prompt comes back.
  [ -n "$(trap -p EXIT)" ] || trap stop_progress EXIT
}

stop_progress() {
  [ -n "$_progress_pid" ] || return 0
  kill "$_progress_pid" 2>/dev/null || true
  wait "$_progress_pid" 2>/dev/null || true
  _progress_pid=
}
