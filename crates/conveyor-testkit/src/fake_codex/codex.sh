#!/usr/bin/env bash
# A program that looks like Codex to a terminal: it draws the composer of 0.169, takes pasted and
# typed text, and writes a rollout. The file `mode` beside it says how it behaves.
export LC_ALL=C
dir=$1
rollout=$2
text=
mode=
ran=
# One that was begun before.
turn=turn-before
turns=0
pending=
paste_begin=$'\033[200~'
paste_end=$'\033[201~'

now() { date -u +%Y-%m-%dT%H:%M:%S.000Z; }
# All at once: whoever sees the first record sees the others.
record() {
  local at
  at=$(now)
  printf "{\"timestamp\":\"$at\",\"type\":\"event_msg\",\"payload\":{%s}}\\n" "$@" >>"$rollout"
}

quoted() {
  local t=${1//\\/\\\\}
  t=${t//\"/\\\"}
  t=${t//$'\n'/\\n}
  printf '%s' "${t//$'\t'/\\t}"
}

footer() { printf '\r\n\r\n  mock default \302\267 %s\r\n  ? for shortcuts\r\n' "$dir"; }

draw() {
  printf '\033[?2004h\033[2J\033[H>_ OpenAI Codex (v0.169.0)\r\n\r\n%s\r\n\r\n' "$ran"
  case $mode in
    approval)
      printf '  Would you like to run the following command?\r\n\r\n  $ touch file\r\n\r\n'
      printf '\342\200\272 1. Yes, proceed (y)\r\n  2. No, and tell Codex what to do differently (esc)\r\n\r\n'
      printf '  Press enter to confirm or esc to cancel\033[?25l'
      return ;;
    busy | slow-running) printf '\342\200\242 Working (3s \342\200\242 esc to interrupt)\r\n\r\n' ;;
  esac
  printf '\033[?25h\033[1m\342\200\272\033[0m '
  if [ -z "$text" ] || [ "$mode" = blind ]; then
    printf '\0337\033[2mAsk Codex to do anything\033[0m'
    footer
  else
    local shown=$text
    # Characters, not bytes.
    local letters=${shown//[$'\200'-$'\277']/}
    [ ${#letters} -gt 1000 ] && shown="[Pasted Content ${#letters} chars]"
    printf '%s\0337' "${shown//$'\n'/$'\r\n'  }"
    footer
  fi
  printf '\0338'
}

begin() {
  turns=$((turns + 1))
  turn=turn
  [ $turns -gt 1 ] && turn=turn-$turns
  record "\"type\":\"task_started\",\"turn_id\":\"$turn\"" \
    "\"type\":\"item_completed\",\"turn_id\":\"$turn\",\"item\":{\"type\":\"UserMessage\",\"content\":[{\"type\":\"text\",\"text\":\"$(quoted "$1")\"}]}"
}

submit() {
  [ -z "$text" ] && return
  begin "$text"
  ran="> ${#text} bytes"
  text=
  if [ "$mode" = slow ]; then
    echo slow-running >"$dir/mode"
  else
    record "\"type\":\"task_complete\",\"turn_id\":\"$turn\",\"last_agent_message\":\"done\""
  fi
}

key() {
  case $mode in
    approval) [ "$1" = $'\r' ] || [ "$1" = y ] && touch "$dir/approved"; return ;;
  esac
  case $1 in
    $'\r') [ "$mode" = deaf ] || submit ;;
    $'\003') exit 0 ;;
    $'\177') text=${text%?} ;;
    # To the beginning of the line, or the end of the one before.
    $'\025')
      case $text in
        *$'\n') text=${text%?} ;;
        *$'\n'*) text=${text%$'\n'*}$'\n' ;;
        *) text= ;;
      esac ;;
    *) text=$text$1 ;;
  esac
  draw
}

# The key Escape by itself.
escape() {
  touch "$dir/escaped"
  case $mode in busy | slow-running)
    record "\"type\":\"turn_aborted\",\"turn_id\":\"$turn\",\"reason\":\"interrupted\""
    echo idle >"$dir/mode" ;;
  esac
}

# Waits a moment for input. Not with the shell's own `read`, which changes the terminal meanwhile.
fill() {
  local chunk
  chunk=$(dd bs=65536 count=1 2>/dev/null && printf x)
  pending=$pending${chunk%x}
}

paste() {
  pending=${pending#"$paste_begin"}
  while [[ $pending != *"$paste_end"* ]]; do fill; done
  text=$text${pending%%"$paste_end"*}
  pending=${pending#*"$paste_end"}
  draw
}

take() {
  case $pending in
    "$paste_begin"*) paste ;;
    $'\033['*)
      pending=${pending#??}
      pending=${pending#*[a-zA-Z~]} ;;
    $'\033')
      fill
      [ "$pending" = $'\033' ] && pending= && escape ;;
    $'\033'*)
      pending=${pending#?}
      escape ;;
    *)
      local first=${pending:0:1}
      pending=${pending#?}
      key "$first" ;;
  esac
}

stty raw -echo min 0 time 1
while :; do
  wanted=$(cat "$dir/mode" 2>/dev/null)
  if [ "$wanted" = finish ]; then
    record "\"type\":\"task_complete\",\"turn_id\":\"$turn\",\"last_agent_message\":\"done\""
    wanted=idle
    echo idle >"$dir/mode"
  fi
  if [ "$wanted" != "$mode" ]; then
    mode=$wanted
    draw
  fi
  fill
  while [ -n "$pending" ]; do take; done
done
