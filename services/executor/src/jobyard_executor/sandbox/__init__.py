"""The ladder of isolation for tools, and the proof that a level holds on this machine.

    L0 bare       own session, named environment only, no inherited descriptors
    L1 bounded    + rlimits that exist before the tool's first instruction, no_new_privs, no capabilities, umask 077,
                  sweep of the whole tree by the slot guardian
    L2 confined   + Landlock (reads system and tool folders, writes its work dir, no TCP, signals stay inside)
                  + seccomp (no sockets, no ptrace, no namespaces, no exotic kernel surface)
    L3 isolated   + own user, pid, net, ipc, uts and mount namespaces by bubblewrap; the tree dies with its init
    L4 accounted  + a control group of its own (`cgroups`): memory and processes are counted for the whole tree

Where the executor is root, each attempt at L1 and above is a user of its own (`users`), whose processes the kernel
limits and one stroke ends; `reach` opens it the way to what it needs.

Confinement belongs to a thread and is inherited by what it spawns: a short-lived thread confines itself, spawns the
tool and ends (`jail`). Nothing of ours ever runs between fork and exec. A level is used only after `selftest` attacked
it here and every attack was refused; an answer we do not understand counts as a failure.
"""
