//! The guests of `tests/guests` do in a zone what they do natively, section by section.

mod files {
    use crate::harness::guest;

    same! {
        opens = guest("files").arg("opens");
        creates = guest("files").arg("creates");
        names = guest("files").arg("names");
        renames = guest("files").arg("renames");
        links = guest("files").arg("links");
        symlinks = guest("files").arg("symlinks");
        directories = guest("files").arg("directories");
        relative = guest("files").arg("relative");
        stats = guest("files").arg("stats");
        access = guest("files").arg("access");
        sizes = guest("files").arg("sizes");
        modes = guest("files").arg("modes");
        times = guest("files").arg("times");
        locks = guest("files").arg("locks");
        long_names = guest("files").arg("long_names");
        bad_addresses = guest("files").arg("bad_addresses");
        bad_descriptors = guest("files").arg("bad_descriptors");
        listing = guest("files").arg("listing");
        special = guest("files").arg("special");
        mappings = guest("files").arg("mappings");
        descriptors = guest("files").arg("descriptors");
    }
}

mod processes {
    use crate::harness::guest;

    same! {
        numbers = guest("processes").arg("numbers");
        waits = guest("processes").arg("waits");
        waitid = guest("processes").arg("waitid");
        groups = guest("processes").arg("groups");
        group_signals = guest("processes").arg("group_signals");
        sessions = guest("processes").arg("sessions");
        orphans = guest("processes").arg("orphans");
        strangers = guest("processes").arg("strangers");
        subreaper = guest("processes").arg("subreaper");
        pidfd = guest("processes").arg("pidfd");
    }
}

mod signals {
    use crate::harness::guest;

    same! {
        masks = guest("signals").arg("masks");
        sigsys = guest("signals").arg("sigsys");
        interrupted = guest("signals").arg("interrupted");
        restarted = guest("signals").arg("restarted");
        escapes = guest("signals").arg("escapes");
        waits_with_masks = guest("signals").arg("waits_with_masks");
        stacks = guest("signals").arg("stacks");
        information = guest("signals").arg("information");
        faults = guest("signals").arg("faults");
        kinds = guest("signals").arg("kinds");
        exec = guest("signals").arg("exec");
        inherited = guest("signals").arg("inherited");
        timed_wait = guest("signals").arg("timed_wait");
        default_actions = guest("signals").arg("default_actions");
    }
}

mod threads {
    use crate::harness::guest;

    same! {
        ids = guest("threads").arg("ids");
        stacks = guest("threads").arg("stacks");
        signals = guest("threads").arg("signals");
        cancel = guest("threads").arg("cancel");
        mutexes = guest("threads").arg("mutexes");
        vfork = guest("threads").arg("vfork");
        spawn = guest("threads").arg("spawn");
        fork_in_thread = guest("threads").arg("fork_in_thread");
        exec_in_thread = guest("threads").arg("exec_in_thread");
        exit_group = guest("threads").arg("exit_group");
        many = guest("threads").arg("many");
    }
}
