//! The guests of `tests/guests` do in a zone what they do natively, section by section.

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
