#!/usr/bin/env python3
"""screen_pop shows people on their XMPP client who is calling, before they pick up. This is its AGI script:

    exten => 123,1,AGI(screen_pop.py,${CALLERID(num)})

It only queues the call (lib/screenpop/doors/agi.py). It must never get command-line options: a caller can choose its
arguments.
"""

import _signal  # the modules `signal` and `os` take milliseconds to import, while the caller waits
import posix
import sys

_signal.signal(_signal.SIGHUP, _signal.SIG_IGN)  # until agi.py handles it: a caller who hangs up at once is shown, too

LIBRARY = ""  # the folder of the package and of its libraries, set by install.sh
if not LIBRARY:  # a checkout
    import os

    LIBRARY = os.path.join(os.path.dirname(os.path.realpath(__file__)), "lib")
sys.path.insert(0, LIBRARY)


def main() -> None:
    """Never harm the call: any error is reported on Asterisk's console, and the exit status is 0."""
    try:
        from screenpop.doors import agi

        agi.main()
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        # This must work without the package. Characters that could end the quoted text are removed.
        reason = "".join(char if char.isprintable() and char not in '"\\' else " " for char in reason)
        sys.stdout.write(f'VERBOSE "screen_pop: {reason[:500]}" 1\nSET VARIABLE SCREEN_POP_STATUS FAILED\n')
        sys.stdout.flush()


if __name__ == "__main__":
    if posix.isatty(0):
        sys.exit("screen_pop.py is for Asterisk's dialplan; to send a test pop, run: screen-pop test NUMBER")
    try:
        main()
    finally:
        posix._exit(0)  # at once: nothing is left to clean up, and the caller waits
