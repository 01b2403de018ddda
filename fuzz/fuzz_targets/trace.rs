//! Arbitrary bytes as a recorded trace, and as the content of a block whose sum is right, must not panic
//! what reads and shows it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use picozone::trace::events::Events;
use picozone::trace::file::{BLOCK_MAX, block, front};
use picozone::trace::output;
use picozone::trace::Start;

fn show(bytes: &[u8]) {
    for mut output in output::all(&|_| true) {
        let Ok(mut events) = Events::new(bytes) else {
            return;
        };
        let mut to = std::io::sink();
        let _ = output.start(events.start(), &mut to);
        for event in events.by_ref().flatten() {
            output.learn(&event);
            let _ = output.event(&event, &mut to);
        }
        let _ = output.end(events.skipped(), &mut to);
    }
}

fuzz_target!(|bytes: &[u8]| {
    show(bytes);
    let content = &bytes[..bytes.len().min(BLOCK_MAX)];
    let mut sound = front(&Start::default());
    sound.extend(block(content));
    show(&sound);
});
