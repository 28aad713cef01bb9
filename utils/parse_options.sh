# Command-line options for scripts: source it after the configuration block, as ". utils/parse_options.sh".
# It also brings in common.sh (log, die, need_file, write_atomically, stamp, ...).
#
#   --foo-bar VALUE, --foo-bar=VALUE   set $foo_bar, which the script must have defined before
#   --config FILE                      source FILE first, so that the command line wins over it; a script with a
#                                      non-empty $config of its own gets FILE as that option's value instead
#   --help, -h                         print $help_message and exit 0
#
# A variable that is "true" or "false" accepts nothing else. Parsing stops at the first word that is no option (or at
# "--"); this word and the rest stay in "$@". A mistake is reported in one line, with exit status 2.
# shellcheck shell=bash

_po_dir=${BASH_SOURCE[0]%/*}
[ "$_po_dir" != "${BASH_SOURCE[0]}" ] || _po_dir=.
# shellcheck source=utils/common.sh
. "$_po_dir/common.sh"

# Names of the options this script knows: the lower-case variables that do not merely come from the environment.
_po_known() {
  compgen -v | grep -x '[a-z][a-zA-Z0-9_]*' | grep -vxF -e help_message | grep -vxF -f <(compgen -e) || true
}

# Edit distance between two words.
_po_distance() {
  local _po_a=$1 _po_b=$2 _po_i _po_j _po_cost _po_best
  local -a _po_last _po_row
  for ((_po_j = 0; _po_j <= ${#_po_b}; _po_j++)); do _po_last[_po_j]=$_po_j; done
  for ((_po_i = 1; _po_i <= ${#_po_a}; _po_i++)); do
    _po_row=("$_po_i")
    for ((_po_j = 1; _po_j <= ${#_po_b}; _po_j++)); do
      _po_cost=1
      [ "${_po_a:_po_i-1:1}" != "${_po_b:_po_j-1:1}" ] || _po_cost=0
      _po_best=$((_po_last[_po_j - 1] + _po_cost))
      ((_po_last[_po_j] + 1 >= _po_best)) || _po_best=$((_po_last[_po_j] + 1))
      ((_po_row[_po_j - 1] + 1 >= _po_best)) || _po_best=$((_po_row[_po_j - 1] + 1))
      _po_row[_po_j]=$_po_best
    done
    _po_last=("${_po_row[@]}")
  done
  printf '%s' "${_po_last[${#_po_b}]}"
}

# What to try instead of the unknown option $1 (without its dashes): the nearest option, or the list where none is near.
_po_advice() {
  local _po_name _po_far _po_least=1000 _po_near
  while read -r _po_name; do
    _po_far=0
    [[ $_po_name == "$1"* ]] || _po_far=$(_po_distance "$1" "$_po_name")
    ((_po_far >= _po_least)) || { _po_least=$_po_far _po_near=$_po_name; }
  done < <(_po_known)
  if ((_po_least <= (${#1} + 1) / 2)); then
    printf 'did you mean --%s? (--help lists all)' "${_po_near//_/-}"
  else
    printf 'the options are%s' "$(_po_known | sed 's/_/-/g; s/^/ --/' | tr -d '\n')"
  fi
}

_po_is_option() {  # $1 is --NAME of an option of this script
  [[ $1 =~ ^--[a-z][a-zA-Z0-9_-]*$ ]] || return 1
  local _po_name=${1#--}
  _po_name=${_po_name//-/_}
  [ "$_po_name" != help_message ] && [[ -v $_po_name ]]
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
  local _po_name _po_value _po_words _po_old _po_pass _po_source=true
  [ -z "${config:-}" ] || _po_source=false

  for _po_pass in configs options; do
    [ "$_po_pass" = options ] || [ "$_po_source" = true ] || continue
    _po_rest=("$@")
    while [ ${#_po_rest[@]} -gt 0 ]; do
      _po_words=1
      case ${_po_rest[0]} in
        --help | -h)
          if [ "$_po_pass" = options ]; then
            printf '%s\n' "${help_message:-${0##*/}: no help, see the comments at its top}"
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
            usage_error "unknown option --$_po_name: $(_po_advice "${_po_name//-/_}")"
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
  _po_old=${!_po_name}
  case $_po_old in
    true | false)
      [ "$_po_value" = true ] || [ "$_po_value" = false ] ||
        usage_error "option --${_po_name//_/-} must be true or false, not '$_po_value'"
      ;;
  esac
  printf -v "$_po_name" '%s' "$_po_value"
}

_po_rest=()
_po_parse "$@"
set -- "${_po_rest[@]}"
