//! Arbitrary bytes as a recorded trace, and as the content of a block whose sum is right, must not panic
//! what reads and shows it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use picozone::trace::descriptors::Descriptors;
use picozone::trace::events::Events;
use picozone::trace::file::{BLOCK_MAX, block, front};
use picozone::trace::html::Html;
use picozone::trace::learn::Learn;
use picozone::trace::output::{Json, Output, Strace};
use picozone::trace::perfetto::Perfetto;
use picozone::trace::summary::Summary;
use picozone::trace::unsupported::Unsupported;
use picozone::trace::Start;

fn show(bytes: &[u8]) {
    let is_on_host = |_: &std::path::Path| true;
    let outputs: [Box<dyn Output>; 7] = [
        Box::new(Strace {
            has_time: true,
            descriptors: Some(Descriptors::default()),
        }),
        Box::new(Json),
        Box::<Perfetto>::default(),
        Box::<Html>::default(),
        Box::<Summary>::default(),
        Box::<Unsupported>::default(),
        Box::new(Learn::new(&is_on_host)),
    ];
    for mut output in outputs {
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
