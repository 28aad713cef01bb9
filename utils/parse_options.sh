# Command-line options for scripts: source it after the configuration block, as ". utils/parse_options.sh".
# It also brings in common.sh (log, die, need_file, write_atomically, stamp, ...).
#
#   --foo-bar VALUE, --foo-bar=VALUE   set $foo_bar, which the script must have defined before
#   --config FILE                      source FILE first, so that the command line wins over it; a script with a
#                                      non-empty $config of its own gets FILE as that option's value instead
#   --help, -h                         print $help_message and the options, and exit 0
#
# A variable that is "true" or "false" accepts nothing else, a whole number only whole numbers, a fraction only numbers. Values
# of an option whose variable is an array are appended to it. Parsing stops at the first word that is no option (or at
# "--"); this word and the rest stay in "$@". A mistake is reported in one line, with exit status 2.
#
# The help on the options is the configuration block itself: the comment behind each variable, continued on lines that have
# nothing but a comment, and the default. It is read from the script, down to its help_message, or from the files in the
# array OPTION_FILES. "usage" prints the same on stderr and exits with status 2.
#
# changed_options NAME...   afterwards prints the options among these variables whose values differ from their defaults, as they
# would be written on a command line.
#
# The command line is appended to the file $AVSV_COMMANDS when that is set: run.sh keeps the commands of a run there.
# shellcheck shell=bash

_po_dir=${BASH_SOURCE[0]%/*}
[ "$_po_dir" != "${BASH_SOURCE[0]}" ] || _po_dir=.
# shellcheck source=utils/common.sh
. "$_po_dir/common.sh"

# Names of the options this script knows: the lower-case variables that do not merely come from the environment. One that it
# sets itself is an option even where the caller has exported a variable of that name.
_po_known() {
  local _po_name _po_exported
  _po_exported=$'\n'$(compgen -e)$'\n'
  compgen -v | grep -x '[a-z][a-zA-Z0-9_]*' | grep -vxF -e help_message | while read -r _po_name; do
    [[ $_po_exported != *$'\n'"$_po_name"$'\n'* ]] || _po_assigns "$_po_name" || continue
    printf '%s\n' "$_po_name"
  done
}

_po_assigns() {  # whether a configuration block sets this variable
  local _po_file
  for _po_file in "${OPTION_FILES[@]-$0}"; do
    [ ! -f "$_po_file" ] || ! sed '/^help_message=/,$d' "$_po_file" | grep -E "^([^#]*[[:space:]])?$1=" >/dev/null || return 0
  done
  return 1
}

_po_help() {
  local _po_file _po_name _po_text _po_head
  printf '%s\n' "${help_message:-${0##*/}: no help, see the comments at its top}"
  for _po_file in "${OPTION_FILES[@]-$0}"; do
    [ ! -f "$_po_file" ] || awk '/^help_message=/ { exit }
      /^[a-z][a-zA-Z0-9_]*=/ {
        name = $0; sub(/=.*/, "", name)
        text = ""; if (/[[:space:]]# /) { text = $0; sub(/.*[[:space:]]# +/, "", text) }
        printf "\n%s %s", name, text; inside = 1; next
      }
      inside && /^[[:space:]]+# / { sub(/[[:space:]]*# +/, ""); printf " %s", $0; next }
      { inside = 0 }
      END { print "" }' "$_po_file"
  done | while read -r _po_name _po_text; do
    [ -n "$_po_name" ] || continue
    [ -z "${_po_defaults[$_po_name]-}" ] || _po_text+=" (${_po_defaults[$_po_name]})"
    printf -v _po_head '  --%s <%s>' "${_po_name//_/-}" "${_po_name##*_}"
    fold -s -w 86 <<<"$_po_text" | while read -r _po_text; do
      printf '%-32s %s\n' "$_po_head" "$_po_text"
      _po_head=
    done
  done
}

usage() {
  _po_help >&2
  exit 2
}

_po_is_option() {  # $1 is --NAME of an option of this script
  [[ $1 =~ ^--[a-z][a-zA-Z0-9_-]*$ ]] || return 1
  local _po_name=${1#--}
  _po_name=${_po_name//-/_}
  [[ " ${_po_names[*]} " == *" $_po_name "* ]]
}

# Split the option at the front of "$@" into $_po_name, $_po_value and $_po_words (how many words it took).
_po_take() {
  case $1 in
    --*=*) _po_name=${1%%=*} _po_value=${1#*=} _po_words=1 ;;
    *)
      _po_name=$1 _po_words=2
      [ $# -ge 2 ] || usage_error "option $1 needs a value"
      ! _po_is_option "$2" || usage_error "option $1 needs a value, not the option $2 (write $1=$2 if you mean it)"
      _po_value=$2
      ;;
  esac
  _po_name=${_po_name#--}
  _po_name=${_po_name//-/_}
}

_po_parse() {
  local _po_name _po_value _po_words _po_pass _po_source=true
  [ -z "${config:-}" ] || _po_source=false

  for _po_pass in configs options; do
    [ "$_po_pass" = options ] || [ "$_po_source" = true ] || continue
    _po_rest=("$@")
    while [ ${#_po_rest[@]} -gt 0 ]; do
      _po_words=1
      case ${_po_rest[0]} in
        --help | -h)
          if [ "$_po_pass" = options ]; then
            _po_help
            exit 0
          fi
          ;;
        --)
          _po_rest=("${_po_rest[@]:1}")
          break
          ;;
        --*)
          # A misspelled option is named before its value is asked for.
          _po_name=${_po_rest[0]%%=*}
          if [ "$_po_name" != --config ] && ! _po_is_option "$_po_name"; then
            _po_name=${_po_name#--}
            usage_error "unknown option --$_po_name: the options are$(printf ' --%s' "${_po_names[@]//_/-}")"
          fi
          _po_take "${_po_rest[@]}"
          if [ "$_po_pass" = configs ]; then
            [ "$_po_name" != config ] || _po_read_config "$_po_value"
          else
            _po_set
          fi
          ;;
        *) break ;;
      esac
      _po_rest=("${_po_rest[@]:_po_words}")
    done
  done
  if [ -n "${cmd+set}" ] && [ -z "$cmd" ]; then usage_error "option --cmd is empty"; fi
}

_po_read_config() {
  [ -r "$1" ] || usage_error "option --config: cannot read '$1'"
  local _po_file=$1
  [[ $_po_file == */* ]] || _po_file=./$_po_file  # without a slash the shell would look in PATH
  # shellcheck disable=SC1090
  . "$_po_file"
}

_po_set() {
  [ "$_po_name" != config ] || [[ -v config ]] || return 0
  if [[ $(declare -p "$_po_name") == "declare -a"* ]]; then
    local -n _po_array=$_po_name
    _po_array+=("$_po_value")
    return 0
  fi
  case ${_po_defaults[$_po_name]-} in
    true | false)
      [[ $_po_value =~ ^(true|false)$ ]] ||
        usage_error "option --${_po_name//_/-} must be true or false, not '$_po_value'"
      ;;
    '') ;;
    *[!0-9]*)
      [[ ! ${_po_defaults[$_po_name]} =~ ^[0-9]*\.[0-9]+$ || $_po_value =~ ^-?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?$ ]] ||
        usage_error "--${_po_name//_/-} takes a number, not '$_po_value'"
      ;;
    *)
      [[ $_po_value =~ ^[0-9]+$ ]] || usage_error "--${_po_name//_/-} takes a whole number, not '$_po_value'"
      ;;
  esac
  printf -v "$_po_name" '%s' "$_po_value"
}

declare -A _po_defaults=()
mapfile -t _po_names < <(_po_known)
for _po_name in "${_po_names[@]}"; do
  [[ $(declare -p "$_po_name") == "declare -a"* ]] || _po_defaults[$_po_name]=${!_po_name}
done

changed_options() {
  local name value
  for name; do
    value=${!name}
    [ "$value" != "${_po_defaults[$name]}" ] || continue
    [[ $value =~ ^[A-Za-z0-9_./-]+$ ]] || value=${value@Q}
    printf ' --%s %s' "${name//_/-}" "$value"
  done
}

if [ -n "${AVSV_COMMANDS:-}" ]; then as_typed "$0" "$@" >>"$AVSV_COMMANDS"; fi
_po_rest=()
_po_parse "$@"
set -- "${_po_rest[@]}"
