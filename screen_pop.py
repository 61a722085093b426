#!/usr/bin/env python3
"""screen_pop: shows people who is calling, on their XMPP client, before they pick up. An AGI script for Asterisk:

    exten => 123,1,AGI(screen_pop.py,${CALLERID(num)})

It only hands the call over (lib/screenpop/doors/agi.py), and is never a command line: a caller chooses its arguments.
"""

import _signal  # the module `signal` makes enumerations of it first, and the caller waits
import os
import sys

_signal.signal(_signal.SIGHUP, _signal.SIG_IGN)  # until pyst2 handles it: a caller who hangs up at once is told of, too

beside = os.path.join(os.path.dirname(os.path.realpath(__file__)), "lib")
if os.path.isdir(beside):
    sys.path.insert(0, beside)


def main() -> None:
    """The call is never harmed: whatever goes wrong is said on Asterisk's console, and ends with 0."""
    try:
        from screenpop.doors import agi

        agi.main()
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        # Nothing of the package may be needed for this. What could end the quoted text is left out.
        reason = "".join(char if char.isprintable() and char not in '"\\' else " " for char in reason)
        sys.stdout.write(f'VERBOSE "screen_pop: {reason[:500]}" 1\nSET VARIABLE SCREEN_POP_STATUS FAILED\n')
        sys.stdout.flush()


if __name__ == "__main__":
    if os.isatty(0):
        sys.exit("screen_pop.py is for Asterisk's dialplan; to send a test pop, run: screen-pop test NUMBER")
    try:
        main()
    finally:
        os._exit(0)  # at once: nothing is left to tidy up, and the caller waits
