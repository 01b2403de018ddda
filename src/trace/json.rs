//! A trace as lines of JSON. The schema stands in docs/TRACE.md; [`VERSION`] changes with whatever a
//! reader of an earlier one would not understand.

use super::calls::Event;
use super::entry::{Call, Start};
use super::show::{self, Argument};
use super::stack::{Frame, Stack, hex};
use super::value::{self, bytes};
use picozone_personality::trace::flags;
use picozone_syscalls::errno_of;
use serde_json::{Map, Value, json};

/// Version of the schema.
pub const VERSION: u32 = 1;

/// The first line.
#[must_use]
pub fn start(start: &Start) -> Value {
    json!({
        "type": "trace", "version": VERSION, "zone": start.zone_name(), "time_ns": start.time,
    })
}

/// The last line; `skipped` calls were recorded and not written, none is known where the trace did not
/// end in good order.
#[must_use]
pub fn end(skipped: Option<u64>) -> Value {
    json!({ "type": "end", "whole": skipped.is_some(), "skipped": skipped })
}

/// The line of an event.
#[must_use]
pub fn line(event: &Event) -> Value {
    match event {
        Event::Call { call, has_ended } => {
            let mut line = front("call", call);
            let mut put = |key: &str, value: Value| line.insert(key.to_owned(), value);
            put("call", show::name(call.nr).into());
            put("nr", call.nr.into());
            let args = show::arguments(call, *has_ended);
            let values = args.iter().enumerate();
            let values = values.map(|(i, arg)| (arg, value::of(call, i, arg, *has_ended)));
            put("args", values.map(argument).collect());
            if picozone_syscalls::row(call.nr).is_none() {
                put("words", call.args.to_vec().into());
            }
            put("ended", (*has_ended).into());
            if *has_ended {
                put("duration_ns", call.duration.into());
                put("result", call.result.into());
                if let Some(errno) = errno_of(call.result) {
                    let name = errno.name().map_or(Value::Null, Into::into);
                    put("errno", name);
                }
            }
            put("cut", (call.flags & flags::CUT != 0).into());
            if call.flags & flags::BY_TRACER == 0 {
                let way = if call.flags & flags::BY_SIGNAL == 0 {
                    "jump"
                } else {
                    "signal"
                };
                put("entered_by", way.into());
            }
            if call.flags & flags::INJECTED != 0 {
                put("injected", true.into());
            }
            if call.flags & flags::REFUSED != 0 {
                put("refused", true.into());
            }
            if let Some(stack) = call.stack() {
                put(
                    "stack",
                    stack.frames.iter().map(|of| frame(stack, of)).collect(),
                );
            }
            put("text", show::call(call, *has_ended).into());
            line.into()
        }
        Event::Began { call, program } => {
            let mut line = front("program", call);
            line.insert("path".to_owned(), bytes(program));
            line.into()
        }
        Event::Dropped { host_tid, count } => {
            json!({ "type": "dropped", "host_tid": host_tid.0, "count": count })
        }
        Event::Garbled { host_tid } => json!({ "type": "garbled", "host_tid": host_tid.0 }),
    }
}

fn front(what: &str, call: &Call) -> Map<String, Value> {
    let front = json!({
        "type": what,
        "time_ns": call.time,
        "pid": call.pid.0,
        "tid": call.tid.0,
        "host_tid": call.host_tid.0,
        "comm": call.comm,
    });
    match front {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

fn frame(stack: &Stack, frame: &Frame) -> Value {
    let mut value = Map::new();
    value.insert("address".into(), frame.address.into());
    if let Some(module) = stack.module_of(frame) {
        value.insert("module".into(), bytes(&module.path));
        if !module.build_id.is_empty() {
            value.insert("build_id".into(), hex(&module.build_id).into());
        }
        value.insert("offset".into(), frame.offset.into());
    }
    if let Some(symbol) = &frame.symbol {
        value.insert("symbol".into(), (*symbol.name).into());
        value.insert("symbol_offset".into(), symbol.offset.into());
    }
    value.into()
}

fn argument((argument, data): (&Argument, Option<Value>)) -> Value {
    let mut value = Map::new();
    value.insert("name".into(), argument.name.into());
    value.insert("word".into(), argument.word.into());
    value.insert("text".into(), argument.text.as_str().into());
    if let Some(data) = data {
        let key = if argument.kind.is_flags() {
            "flags"
        } else {
            "value"
        };
        value.insert(key.into(), data);
    }
    if let Some(host) = &argument.host {
        value.insert("host".into(), host.as_str().into());
    }
    value.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::Part;
    use crate::trace::entry::tests::sample;
    use crate::trace::stack::{self, Symbol};

    #[test]
    fn a_call_has_its_arguments_as_data() {
        let call = sample();
        let event = Event::Call {
            call,
            has_ended: true,
        };
        let expected = json!({
            "type": "call", "time_ns": 1_000_000_000u64, "pid": 7, "tid": 7, "host_tid": 48213,
            "comm": "apache2", "call": "openat", "nr": 257,
            "args": [
                { "name": "dirfd", "word": 0xffff_ff9cu32, "text": "AT_FDCWD" },
                { "name": "pathname", "word": 0x7000, "text": "\"/etc/passwd\"",
                  "value": "/etc/passwd", "host": "web1:etc/passwd" },
                { "name": "flags", "word": 0o2_000_000, "text": "O_RDONLY|O_CLOEXEC",
                  "flags": ["O_RDONLY", "O_CLOEXEC"] },
            ],
            "ended": true, "duration_ns": 2500, "result": 3, "cut": false, "entered_by": "jump",
            "text": "openat(AT_FDCWD, \"/etc/passwd\" -> web1:etc/passwd, O_RDONLY|O_CLOEXEC) = 3",
        });
        assert_eq!(line(&event), expected);
        let failed = Event::Call {
            call: Call {
                result: -2,
                ..sample()
            },
            has_ended: true,
        };
        assert_eq!(line(&failed)["errno"], "ENOENT");
        let mut stacked = sample();
        let mut stack = stack::tests::sample();
        stack.frames[0].symbol = Some(Symbol {
            name: "open64".into(),
            offset: 18,
        });
        stacked.parts.push(Part::Stack(stack));
        let stacked = Event::Call {
            call: stacked,
            has_ended: true,
        };
        assert_eq!(
            line(&stacked)["stack"],
            json!([
                { "address": 0x7f00_0000_1012u64, "module": "/usr/lib/libc.so.6", "build_id": "0abc",
                  "offset": 0x1012, "symbol": "open64", "symbol_offset": 18 },
                { "address": 0x1000 },
            ])
        );
        let open = Event::Call {
            call: sample(),
            has_ended: false,
        };
        assert_eq!(line(&open)["result"], Value::Null);
    }
}
