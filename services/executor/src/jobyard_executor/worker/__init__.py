"""Code that runs outside the control process, next to the tools of users.

    control process ──frames──► async worker           many `async` tools on one loop
          │                     slot guardian ─► child  one `process` tool at a time, warm
          │                     slot guardian ─► tool   one `command` tool at a time, in a sandbox
          └──fork requests──► forge (imports the tools once, forks all of the above)

Failure rules
- Nothing here holds a credential; the forge starts with a scrubbed environment.
- A slot guardian runs no user code and is a child subreaper: whatever lives below it belongs to its one job, so a tree
  is dead when nothing is left below the guardian, however often it forked, changed its session or its environment.
- The end of the control process is the end of its socket; every process here watches one and takes its tools along.
- The end of a tool is the end of its main process (a pidfd), never the end of a pipe.
- Lines are numbered by whoever owns the attempt: the async worker or the slot guardian.
"""
