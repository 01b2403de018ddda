//! A trace as one page of HTML that needs nothing else: a timeline to zoom, search and filter.
//!
//! The page is `html/report.html` with the program `html/report.js` and three pieces of data: what the
//! trace is of (JSON), the texts of calls, each once, with its stack in lines behind it (JSON), and the calls as columns of numbers. For
//! each call there are six numbers in LEB128, all of it in base64: its thread, how much later than the
//! call before it began (in nanoseconds, zigzag), its duration, its name, its flags, and its text. A call
//! so takes some 16 bytes, and a page of a million draws in a few milliseconds.
//!
//! What guests have said gets into the page only in these pieces, with no `<` in them.

use super::calls::Event;
use super::entry::{Call, Start};
use super::output::Output;
use super::stack::Stack;
use super::{filter, show, value};
use crate::ids::{HostPid, ZonePid};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::hash::Hash;
use std::io::{self, Write};

const PAGE: &str = include_str!("html/report.html");
const SCRIPT: &str = include_str!("html/report.js");

/// Of a call's flags in the page.
const ENDED: u64 = 1;
const FAILED: u64 = 2;

/// Makes the page.
#[derive(Default)]
pub struct Html {
    start: Start,
    count: u64,
    columns: Vec<u8>,
    /// When the call before began.
    before: u64,
    threads: Index<(ZonePid, ZonePid)>,
    /// What each thread was last called.
    comms: Vec<String>,
    names: Index<u32>,
    texts: Index<String>,
    /// Moments of threads: thread, time, and what happened.
    marks: Vec<Value>,
    on_host: HashMap<HostPid, usize>,
    dropped: u64,
    garbled: u64,
}

/// Numbers for things, from 0.
struct Index<T> {
    of: HashMap<T, usize>,
    all: Vec<T>,
}

impl<T> Default for Index<T> {
    fn default() -> Self {
        Self {
            of: HashMap::new(),
            all: Vec::new(),
        }
    }
}

impl<T: Hash + Eq + Clone> Index<T> {
    fn number(&mut self, thing: T) -> usize {
        let next = self.all.len();
        *self.of.entry(thing).or_insert_with_key(|thing| {
            self.all.push(thing.clone());
            next
        })
    }
}

impl Output for Html {
    fn start(&mut self, start: &Start, _to: &mut dyn Write) -> io::Result<()> {
        self.start = start.clone();
        self.before = start.time;
        Ok(())
    }

    fn event(&mut self, event: &Event, _to: &mut dyn Write) -> io::Result<()> {
        match event {
            Event::Call { call, has_ended } => self.call(call, *has_ended),
            Event::Began { call, program } => {
                let what = format!("executes {}", show::visible(program));
                let thread = self.thread(call);
                self.mark(thread, call.time, &what);
            }
            Event::Dropped { host_tid, count } => {
                self.dropped = self.dropped.saturating_add(*count);
                self.lost(*host_tid, &format!("{count} calls not recorded"));
            }
            Event::Garbled { host_tid } => {
                self.garbled += 1;
                self.lost(*host_tid, "what is no record");
            }
        }
        Ok(())
    }

    fn end(&mut self, skipped: Option<u64>, to: &mut dyn Write) -> io::Result<()> {
        let (head, rest) = PAGE.split_once("<!--DATA-->").unwrap_or((PAGE, ""));
        let (between, tail) = rest.split_once("/*SCRIPT*/").unwrap_or((rest, ""));
        to.write_all(head.as_bytes())?;
        let about = self.about(skipped);
        writeln!(
            to,
            "<script type=\"application/json\" id=\"about\">{}</script>",
            inert(&about)
        )?;
        write!(to, "<script type=\"application/json\" id=\"texts\">[")?;
        for (i, text) in self.texts.all.iter().enumerate() {
            let before = if i == 0 { "" } else { ",\n" };
            write!(to, "{before}{}", inert(&text.as_str().into()))?;
        }
        writeln!(to, "]</script>")?;
        write!(to, "<script type=\"text/plain\" id=\"columns\">")?;
        // Pieces of whole groups, so that padding comes at the end only.
        for piece in self.columns.chunks(3 << 12) {
            to.write_all(value::base64(piece).as_bytes())?;
        }
        write!(to, "</script>{between}{SCRIPT}{tail}")
    }
}

impl Html {
    fn call(&mut self, call: &Call, has_ended: bool) {
        let thread = self.thread(call);
        let name = self.names.number(call.nr);
        let mut text = show::call(call, has_ended);
        for line in call.stack().into_iter().flat_map(Stack::lines) {
            text += "\n > ";
            text += &line;
        }
        let text = self.texts.number(text);
        let later = call
            .time
            .cast_signed()
            .wrapping_sub(self.before.cast_signed());
        self.before = call.time;
        let zigzag = (later << 1 ^ later >> 63).cast_unsigned();
        let ended = if has_ended { ENDED } else { 0 };
        let failed = show::errno(call, has_ended).map_or(0, |_| FAILED);
        for number in [
            thread as u64,
            zigzag,
            call.duration,
            name as u64,
            ended | failed,
            text as u64,
        ] {
            leb128(number, &mut self.columns);
        }
        self.count += 1;
    }

    fn thread(&mut self, call: &Call) -> usize {
        let thread = self.threads.number((call.pid, call.tid));
        match self.comms.get_mut(thread) {
            Some(comm) if *comm == call.comm => {}
            Some(comm) => comm.clone_from(&call.comm),
            None => self.comms.push(call.comm.clone()),
        }
        self.on_host.insert(call.host_tid, thread);
        thread
    }

    fn mark(&mut self, thread: usize, time: u64, what: &str) {
        let since = time
            .cast_signed()
            .wrapping_sub(self.start.time.cast_signed());
        self.marks.push(json!([thread, since, what]));
    }

    fn lost(&mut self, host_tid: HostPid, what: &str) {
        if let Some(&thread) = self.on_host.get(&host_tid) {
            self.mark(thread, self.before, what);
        }
    }

    fn about(&self, skipped: Option<u64>) -> Value {
        let threads = self.threads.all.iter().zip(&self.comms);
        let threads = threads.map(|((pid, tid), comm)| {
            json!({ "pid": pid.0, "tid": tid.0, "comm": show::visible(comm.as_bytes()) })
        });
        let class = |nr: &u32| {
            // What it is about first of all.
            let classes = filter::classes(*nr);
            let of = ["net", "file", "process", "signal"];
            let first = of.into_iter().find(|class| classes.contains(class));
            first.unwrap_or("other")
        };
        let mut missing = Vec::new();
        for (count, what) in [
            (self.dropped, "calls were not recorded"),
            (self.garbled, "times a thread told what is no record"),
            (skipped.unwrap_or(0), "calls were not written"),
        ] {
            if count != 0 {
                missing.push(format!("{count} {what}"));
            }
        }
        if skipped.is_none() {
            missing.push("the trace ends early".to_owned());
        }
        json!({
            "zone": self.start.zone_name(),
            "time_ns": self.start.time,
            "count": self.count,
            "threads": threads.collect::<Vec<_>>(),
            "names": self.names.all.iter().map(|nr| show::name(*nr)).collect::<Vec<_>>(),
            "classes": self.names.all.iter().map(class).collect::<Vec<_>>(),
            "marks": self.marks,
            "missing": missing,
        })
    }
}

/// JSON that ends no script and begins none.
fn inert(value: &Value) -> String {
    value.to_string().replace('<', "\\u003c")
}

fn leb128(mut number: u64, to: &mut Vec<u8>) {
    loop {
        let [low, ..] = number.to_le_bytes();
        number >>= 7;
        if number == 0 {
            to.push(low & 0x7f);
            return;
        }
        to.push(low | 0x80);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::entry::tests::sample;

    fn page(events: &[Event]) -> String {
        let mut html = Html::default();
        let mut page = Vec::new();
        let start = Start {
            zone: "web1".into(),
            time: 999_999_000,
        };
        html.start(&start, &mut page).expect("written");
        for event in events {
            html.event(event, &mut page).expect("written");
        }
        html.end(Some(0), &mut page).expect("written");
        String::from_utf8(page).expect("text")
    }

    fn piece<'a>(page: &'a str, id: &str) -> &'a str {
        let start = page.find(&format!("id=\"{id}\">")).expect("it is there");
        let piece = &page[start + id.len() + 6..];
        &piece[..piece.find("</script>").expect("it ends")]
    }

    fn events(calls: &[Call]) -> Vec<Event> {
        let event = |call: &Call| Event::Call {
            call: call.clone(),
            has_ended: true,
        };
        calls.iter().map(event).collect()
    }

    #[test]
    fn calls_are_columns_of_numbers() {
        let failed = Call {
            time: sample().time + 100,
            result: -2,
            ..sample()
        };
        let page = page(&events(&[sample(), failed.clone(), failed]));
        let about: Value = serde_json::from_str(piece(&page, "about")).expect("JSON");
        assert_eq!(
            (&about["count"], &about["zone"]),
            (&3.into(), &"web1".into())
        );
        assert_eq!(about["names"], json!(["openat"]));
        assert_eq!(
            about["threads"],
            json!([{ "pid": 7, "tid": 7, "comm": "apache2" }])
        );
        let texts: Vec<String> = serde_json::from_str(piece(&page, "texts")).expect("JSON");
        assert_eq!(texts.len(), 2);
        assert!(texts[1].ends_with("= -1 ENOENT (No such file or directory)"));
        // 1000 ns after the start, then 100, then 0; 2500 is C4 13.
        let columns = [
            [0, 0xd0, 0x0f, 0xc4, 0x13, 0, 1, 0].to_vec(),
            [0, 0xc8, 0x01, 0xc4, 0x13, 0, 3, 1].to_vec(),
            [0, 0, 0xc4, 0x13, 0, 3, 1].to_vec(),
        ];
        assert_eq!(piece(&page, "columns"), value::base64(&columns.concat()));
    }

    /// What a guest says may look like anything.
    #[test]
    fn nothing_of_a_trace_is_part_of_the_page() {
        let hostile = "</script><script>alert(1)</script><!--";
        let call = Call {
            comm: hostile.into(),
            parts: vec![crate::trace::Part::Memory {
                address: 0x7000,
                bytes: format!("{hostile}\0").into_bytes(),
            }],
            ..sample()
        };
        let began = Event::Began {
            call: call.clone(),
            program: hostile.into(),
        };
        let mut all = events(&[call]);
        all.push(began);
        let page = page(&all);
        assert_eq!(page.matches("<script").count(), 4);
        assert_eq!(page.matches("</script>").count(), 4);
        assert_eq!(page.matches("<!--").count(), 0);
        let texts: Vec<String> = serde_json::from_str(piece(&page, "texts")).expect("JSON");
        assert!(texts[0].contains("<script>alert(1)"), "{texts:?}");
        let about: Value = serde_json::from_str(piece(&page, "about")).expect("JSON");
        assert_eq!(about["threads"][0]["comm"], hostile);
    }

    #[test]
    fn the_page_needs_nothing_else() {
        let page = page(&[]);
        for outside in [
            "http:", "https:", "src=", "<link", "@import", "url(", "fetch(", "import(",
        ] {
            assert!(!page.contains(outside), "{outside}");
        }
        assert!(page.contains("default-src 'none'"));
        assert!(!page.contains("/*SCRIPT*/") && !page.contains("<!--DATA-->"));
    }

    #[test]
    fn a_call_takes_few_bytes() {
        let calls: Vec<Call> = (0..2000)
            .map(|i| Call {
                time: sample().time + i * 5000,
                duration: 800 + i,
                result: (i % 7).cast_signed(),
                ..sample()
            })
            .collect();
        let page = page(&events(&calls));
        assert!(piece(&page, "columns").len() < 2000 * 16);
        let texts: Vec<String> = serde_json::from_str(piece(&page, "texts")).expect("JSON");
        assert_eq!(texts.len(), 7);
    }
}
