"""What `slotward drill --exec` calls in network namespaces: SOCKET ACTION HOST:PORT. Whoever made the
namespaces listens at the socket (netns.Hook) and acts."""

import socket
import sys

with socket.socket(socket.AF_UNIX) as hook:
    hook.connect(sys.argv[1])
    hook.sendall(" ".join(sys.argv[2:]).encode() + b"\n")
    answer = hook.makefile().readline().strip()
if answer != "done":
    sys.exit(f"{' '.join(sys.argv[2:])}: {answer or 'no answer'}")
