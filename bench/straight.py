#!/usr/bin/python3
"""The simplest script with pyst2 and xmpppy: each call signs in and sends its message itself."""

import sys

import xmpp
from asterisk.agi import AGI

agi = AGI()
client = xmpp.Client("screenpop.test", debug=[])
client.connect(("127.0.0.1", int(sys.argv[1])), use_srv=False)
client.auth("pbx", "pbx's secret", resource="screen_pop")
client.send(xmpp.Message("alice@screenpop.test", f"Call from {agi.env['agi_callerid']}", typ="chat"))
client.disconnect()
