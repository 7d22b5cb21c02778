# The agent: the main process of every build. Plain POSIX sh; runs under dash, busybox ash and bash.
#
#   sh -c "$(cat agent.sh)" rapidflow-agent ROOT OUTPUT
#
# ROOT is the folder that holds rapidflow/ and workspace/ ("" in a container). OUTPUT is "copy" where
# standard output is read by the server: everything goes through one fifo into one tee, so that the
# container keeps a copy in rapidflow/log; it is "file" where rapidflow/log is all there is.
#
# Where its output is copied it first prints a line to standard output alone, which is not in the copy:
#   waiting WORKSPACE   it waits for its nonce; WORKSPACE is "occupied" where the image has a /workspace, else "free"
# It reads commands, one a line, from standard input, after a first line that is the nonce:
#   unpack    a tar archive follows, as chunks: a line with a number of 10240-byte blocks, then the blocks; 0 ends it
#   make N SIZE   N lines of shell commands follow, SIZE bytes, which make all files that it is to have
#   run K     run step K, unless K is not above the last one that ran: a command sent twice does no harm
#   post K STATUS   the same for a step that runs after the others; it sees STATUS as RAPIDFLOW_STATUS
# and prints markers, \036<nonce> <words>\n, among the output:
#   ready CAN             first of all; CAN is "unpack" where tar and a fitting dd are there, else "-"
#   unpacked CODE         the archive or the files are in place, or not
#   start K, exit K CODE [term]   "term" when the agent was asked to stop
#   sync N CURRENT LAST   answer number N to a SIGUSR1: the step that runs (0: none) and the last one that ran
#
# SIGTERM ends the step that runs, then the agent. SIGUSR2 ends only the step, and every "run" after it at once,
# with exit code 143; SIGALRM kills all that the build has left running. Neither concerns a "post": so one that
# comes late does no harm.
#
# Names start with rf_ and nothing is exported, because pipelines have variables of their own.

unset rf_nonce # where the image has such a variable, it would be exported for ever
rf_home=$1/rapidflow
rf_root=$1/
rf_out=$rf_home/log
rf_pid='' rf_group='' rf_tee='' rf_launcher='' rf_term='' rf_ends='' rf_kills='' rf_status=''
rf_last=0 rf_current=0 rf_syncs=0 rf_signal='' rf_ending='' rf_asked=''
rf_workspace=free
if [ -e "$1/workspace" ] || [ -h "$1/workspace" ]; then rf_workspace=occupied; fi
mkdir -p "$rf_home/steps" "$1/workspace" || exit

if [ "$2" = copy ]; then
  rf_out=$rf_home/out
  mkfifo "$rf_out" || exit
  tee -a "$rf_home/log" <"$rf_out" &
  rf_tee=$!
fi
# Write only: when tee is gone this must fail rather than wait for a reader that never comes. What the shell
# itself complains of goes the same way, so that the copy and what the server reads are the same bytes.
exec 3>>"$rf_out" 2>&3

rf_mark() {
  # One write below PIPE_BUF, so that output of others can't get into it.
  printf '\036%s %s\n' "$rf_nonce" "$1" >&3 || exit 141
}

rf_exit() {
  # What tee has not passed on is lost when this process, the first of the container, ends. A process that
  # a step left behind may hold the fifo open for ever, so the wait has a bound.
  trap '' TERM USR1 USR2 ALRM
  exec 3>&- 2>/dev/null
  rf_tries=0
  while [ -n "$rf_tee" ] && kill -0 "$rf_tee" && [ "$rf_tries" -lt 50 ]; do
    sleep 0.02 || break
    rf_tries=$((rf_tries + 1))
  done
  exit "$1"
}

# A signal may come while another is handled, and then dash forgets the exit code of what it just did: so
# what handles signals must not look at exit codes.

rf_on_term() {
  rf_signal=1 rf_term=' term'
  case $rf_pid in
    '') rf_exit 143 ;;
    *) rf_pass_on ;;
  esac
}

rf_on_usr2() {
  rf_signal=1
  case $rf_status in
    '')
      rf_ends=1
      case $rf_pid in
        '') ;;
        *) rf_end ;;
      esac
      ;;
  esac
}

rf_end() {
  case $rf_forgets in
    yes)
      # The step may not have said yet which process it is. Then it looks for this file.
      true 2>/dev/null >"$rf_home/steps/$rf_current.ends"
      rf_find
      case $rf_group in "$rf_pid") return ;; esac
      ;;
  esac
  rf_pass_on
}

rf_on_alrm() {
  rf_signal=1
  case $rf_status in
    '')
      rf_kills=1
      case $rf_pid in
        '' | starting) ;;
        *) rf_kill ;;
      esac
      ;;
  esac
}

rf_kill() {
  # Without a process more, because there may be none to be had. In a container all processes are the build's;
  # elsewhere the executor knows which are.
  case $$ in
    1)
      # Again, for what was started meanwhile.
      for rf_round in 1 2 3; do
        for rf_path in /proc/[0-9]*; do
          case ${rf_path#/proc/} in
            1 | "$rf_tee" | "$rf_launcher") ;;
            *) kill -KILL "${rf_path#/proc/}" 2>/dev/null ;;
          esac
        done
      done
      ;;
  esac
}

rf_pass_on() {
  # What the signal ends would interrupt this, and the second kill would follow the first.
  trap - CHLD
  rf_find
  # Not "kill -- -PID": dash then signals the leader alone. Without setsid in the image there is no group.
  kill -TERM "-$rf_group" 2>/dev/null || kill -TERM "$rf_group" 2>/dev/null
}

rf_find() {
  # The group of what runs is in rf_group: that in the file, if it is there.
  rf_group=''
  IFS= read -r rf_group 2>/dev/null <"$rf_home/steps/$rf_current.pid"
  rf_group=${rf_group:-$rf_pid}
}

rf_on_usr1() {
  rf_signal=1
  # Never between "no step runs" and the marker that says how it ended.
  case $rf_ending in
    '') rf_sync ;;
    *) rf_asked=1 ;;
  esac
}

rf_sync() {
  # Counted where it is printed: no two answers are the same, whenever signals come.
  printf '\036%s sync %s %s %s\n' "$rf_nonce" "$((rf_syncs += 1))" "$rf_current" "$rf_last" >&3
}

rf_wait() {
  # Waits for rf_pid; its exit code is in rf_code, or in the file $1 if that is there. Without the redirection
  # bash tells how the process died.
  rf_signal=''
  wait "$rf_pid" 2>/dev/null
  rf_code=$?
  # A signal to the agent ends a wait early.
  if [ -n "$rf_forgets" ]; then
    # Sometimes it ends the next wait, too. Of a process that ends in the very moment in which a signal comes,
    # bash forgets the exit code, and that it ended: it would wait for ever.
    while kill -0 "$rf_pid" 2>/dev/null; do
      wait "$rf_pid" 2>/dev/null
      rf_code=$?
    done
  else
    # One that came just before or after it did not, and then there is nothing left to wait for. To that the
    # answer is 127, as to a step that ended so; 138 is a wait that SIGUSR1 ended, hardly ever a step.
    while [ -n "$rf_signal" ]; do
      rf_signal='' rf_gone=''
      kill -0 "$rf_pid" 2>/dev/null || rf_gone=127
      wait "$rf_pid" 2>/dev/null
      rf_again=$?
      if [ "$rf_again" != "$rf_gone" ] || [ "$rf_code" = 138 ]; then rf_code=$rf_again; fi
    done
  fi
  if [ -f "$1" ] && IFS= read -r rf_again <"$1"; then
    rf_code=$rf_again
  elif [ -n "$rf_forgets" ] && [ -n "$rf_kills" ]; then
    rf_code=137 # whoever was to note it was killed as well, and the wait may tell of the signal instead
  fi
}

rf_unpack() {
  # In the background, so that signals are answered also when the rest of the archive never comes.
  true >"$rf_home/unpack.code"
  exec 4<&0
  (
    trap - TERM USR1 USR2 ALRM
    while IFS= read -r rf_blocks && [ "$rf_blocks" -gt 0 ]; do
      dd bs=10240 count="$rf_blocks" iflag=fullblock 2>/dev/null
    done | {
      tar -xf - -C "$rf_root"
      rf_code=$?
      # All of the archive must be read, or the rest of it would be taken for commands.
      cat >/dev/null
      echo "$rf_code" >"$rf_home/unpack.code"
      exit "$rf_code"
    }
  ) <&4 >"$rf_home/unpack.log" 2>&1 3>&- 4<&- &
  rf_pid=$!
  exec 4<&-
  rf_wait "$rf_home/unpack.code"
  rf_pid=''
  [ "$rf_code" = 0 ] || cat "$rf_home/unpack.log" >&3
  rf_mark "unpacked $rf_code"
  [ -z "$rf_term" ] || rf_exit 143
}

rf_make() {
  # By the shell alone: for a few small files, to start a program would take most of the time.
  rf_lines=$1 rf_text=''
  while [ "$rf_lines" -gt 0 ]; do
    if IFS= read -r rf_line; then
      rf_text="$rf_text$rf_line
"
      rf_lines=$((rf_lines - 1))
    elif [ -n "$rf_signal" ]; then
      rf_signal=''
    else
      rf_exit 0
    fi
  done
  # A signal in the middle of a line has the shell forget what it had read of it.
  rf_code=1
  if [ "${#rf_text}" = "$2" ]; then eval "$rf_text" && rf_code=0; fi
  rf_text=''
  rf_mark "unpacked $rf_code"
}

rf_run() {
  rf_last=$1 rf_current=$1 rf_status=$2
  [ -z "$rf_status" ] || rf_ends='' rf_kills=''
  if [ -n "$rf_ends" ]; then
    rf_current=0
    rf_mark "exit $1 143"
    return
  fi
  rf_mark "start $1"
  if [ -n "$rf_forgets" ]; then
    (
      trap - TERM USR1 USR2 ALRM
      rf_step "$1"
    ) </dev/null >>"$rf_out" 2>&1 3>&- &
    rf_pid=$!
    [ -z "$rf_ends" ] || rf_end
    [ -z "$rf_kills" ] || rf_kill
    rf_wait "$rf_home/steps/$1.code"
  else
    rf_pid=starting
    echo "$1 $rf_status" >&5 || exit 141
    rf_await
  fi
  # What the step's own processes still have to say comes before the marker, within reason.
  rf_tries=0
  rf_find
  while kill -0 "-$rf_group" 2>/dev/null && [ "$rf_tries" -lt 10 ]; do
    sleep 0.02 2>/dev/null || break
    rf_tries=$((rf_tries + 1))
  done
  # As at the end of the agent, which is the end of all that a step has left.
  [ -z "$rf_ends" ] || kill -KILL "-$rf_group" 2>/dev/null
  rf_ending=1 rf_current=0
  rf_mark "exit $1 $rf_code$rf_term"
  rf_pid='' rf_ending=''
  if [ -n "$rf_asked" ]; then rf_asked='' && rf_sync; fi
  [ -z "$rf_term" ] || rf_exit 143
}

rf_step() {
  # Becomes step $1.
  [ -z "$rf_status" ] || export RAPIDFLOW_STATUS="$rf_status"
  . "$rf_home/workdir" || exit
  if [ -d "$rf_home/steps/$1.files" ]; then
    . "$rf_home/steps/$1.links"
    cp -R "$rf_home/steps/$1.files/." . || exit
  fi
  if [ -e "$rf_home/steps/$1.bash" ] && [ -n "$rf_bash" ]; then
    set -- "$rf_bash" -e -o pipefail "$rf_home/steps/$1.bash"
  elif [ -e "$rf_home/steps/$1.bash" ]; then
    set -- "$rf_sh" -e "$rf_home/steps/$1.bash"
  else
    set -- "$rf_sh" -e "$rf_home/steps/$1.sh"
  fi
  [ -z "$rf_setsid" ] || set -- "$rf_setsid" "$@"
  if [ -n "$rf_forgets" ]; then
    # No signal comes to this process, so it forgets nothing. The first wait, for nothing, ends what a signal
    # to the agent may have left for it.
    wait
    (
      { echo "$BASHPID" >"$rf_home/steps/$rf_last.pid"; } 2>/dev/null
      [ ! -e "$rf_home/steps/$rf_last.ends" ] || exit 143
      . "$rf_home/env" || exit
      exec "$@"
    ) &
    wait "$!" 2>/dev/null
    rf_code=$?
    { echo "$rf_code" >"$rf_home/steps/$rf_last.code"; } 2>/dev/null
    exit "$rf_code"
  fi
  # Last of all: the variables of a pipeline may be PATH, or have the names of ours.
  . "$rf_home/env" || exit
  exec "$@"
}

# Dash and busybox start whatever is in the background with SIGINT and SIGQUIT ignored, for it and all its
# children for ever. So there steps run in the foreground of a process of their own, the launcher.

rf_launch() {
  # Reads numbers of steps. Says of each the process and its own, then "-" and the exit code.
  trap : TERM INT QUIT
  { IFS=' ' read -r rf_launcher rf_code </proc/self/stat; } 2>/dev/null
  while IFS=' ' read -r rf_last rf_status; do
    (
      # The step opens the output anew: a process that sets O_NONBLOCK on it must not change the agent's own.
      exec </dev/null >>"$rf_out" 2>&1 || exit
      { IFS=' ' read -r rf_pid rf_code </proc/self/stat; } 2>/dev/null
      echo "$rf_pid $rf_launcher" >&7
      exec 7>&-
      rf_step "$rf_last"
    )
    echo "- $?" >&7
  done
}

rf_begin_launcher() {
  # Not to be in the background either, it is in the foreground of one that is killed at once.
  mkfifo "$rf_home/go" "$rf_home/done" || exit
  # For reading and writing: an end that waited for the other could be interrupted by a signal.
  exec 5<>"$rf_home/go" 6<>"$rf_home/done"
  {
    (rf_launch | "$rf_sh" -c 'kill -KILL "$PPID"') <"$rf_home/go" 7>"$rf_home/done" 3>&- 5>&- 6>&-
    : # of a lone subshell in braces, dash and busybox forget the redirections
  } 2>/dev/null
  # From here on each end tells when the other is gone.
  exec 5>"$rf_home/go" 6<"$rf_home/done"
}

rf_await() {
  # Waits for the step that the launcher runs; its exit code is in rf_code. Meanwhile takes note of orphans of
  # the step that end, which "jobs" does: else whoever stops a daemon would find it there for ever, as a zombie.
  rf_code=''
  while [ -z "$rf_code" ]; do
    trap 'rf_signal=1; jobs >/dev/null 2>&1' CHLD
    jobs >/dev/null 2>&1
    if IFS=' ' read -r rf_word rf_code <&6; then
      case $rf_word in
        -) ;;
        *)
          rf_pid=$rf_word rf_launcher=$rf_code rf_code=''
          # They may have come before there was anything to pass them on to.
          [ -z "$rf_term$rf_ends" ] || rf_pass_on
          [ -z "$rf_kills" ] || rf_kill
          ;;
      esac
    elif [ -n "$rf_signal" ]; then
      rf_signal=''
    else
      rf_code=137 # the launcher was killed
    fi
  done
  trap - CHLD
}

# Bash forgets exit codes (see rf_wait), so there a process between the agent and the step notes them. Not
# elsewhere, because that takes 0.6 ms of the 3 ms between two steps.
rf_forgets=''
case $BASHPID in "$$") rf_forgets=yes ;; esac

# Looked up before any step can change PATH.
rf_sh=$(command -v sh) rf_bash=$(command -v bash) rf_setsid=$(command -v setsid)
rf_can=-
if command -v tar >/dev/null && dd iflag=fullblock count=0 </dev/null >/dev/null 2>&1; then rf_can=unpack; fi

[ -n "$rf_forgets" ] || rf_begin_launcher
trap rf_on_term TERM
[ "$2" != copy ] || echo "waiting $rf_workspace" || exit
IFS= read -r rf_nonce || exit
trap rf_on_usr1 USR1
trap rf_on_usr2 USR2
trap rf_on_alrm ALRM
rf_mark "ready $rf_can"

while :; do
  if IFS=' ' read -r rf_command rf_argument rf_word; then
    case $rf_command in
      unpack) rf_unpack ;;
      make) rf_make "$rf_argument" "$rf_word" ;;
      run | post) if [ "$rf_argument" -gt "$rf_last" ] 2>/dev/null; then rf_run "$rf_argument" "$rf_word"; fi ;;
    esac
  elif [ -n "$rf_signal" ]; then
    rf_signal=''
  else
    rf_exit 0
  fi
done
