//! Names that a program makes up anew each time it runs, and what is the same each time.

/// Directories of what does not last.
const TEMPORARY: [&str; 5] = ["/tmp/", "/var/tmp/", "/dev/shm/", "/run/", "/var/run/"];
/// Shortest run of letters and digits that may have been made up.
const SHORTEST: usize = 6;

/// A text with what was made up in its names replaced: `/tmp/cc4Hs9Xq.s` by `/tmp/*.s`, and numbers of
/// processes below `/proc` by what `process` calls them.
pub(super) fn normal(text: &str, process: impl Fn(u32) -> Option<String>) -> String {
    // The path may stand in a list of words, and behind an option's name.
    let is_temporary = |at: usize| {
        let word = text[..at].rsplit(['"', ' ', '=', ',', '\'']).next();
        let path = word.and_then(|word| Some(&word[word.find('/')?..]));
        let is_in = |path: &str| TEMPORARY.iter().any(|place| path.starts_with(place));
        path.is_some_and(is_in)
    };
    let mut normal = String::with_capacity(text.len());
    let (mut at, mut before) = (0, "");
    for component in text.split_inclusive('/') {
        let name = component.trim_end_matches(['/', '"']);
        let number = name.parse().ok();
        let of_process = number.filter(|_| matches!(before, "proc/" | "task/"));
        match of_process {
            Some(pid) => {
                normal += &process(pid).unwrap_or_else(|| "PID".to_owned());
                normal += &component[name.len()..];
            }
            None => put(component, is_temporary(at), &mut normal),
        }
        at += component.len();
        before = component;
    }
    normal
}

fn put(component: &str, is_temporary: bool, to: &mut String) {
    let is_tmp = |rest: &str| rest.chars().take_while(|c| is_of_name(*c)).count() >= SHORTEST;
    if is_temporary && let Some(rest) = component.strip_prefix("tmp").filter(|rest| is_tmp(rest)) {
        *to += "tmp*";
        *to += rest.trim_start_matches(is_of_name);
        return;
    }
    let mut rest = component;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric());
        let (run, more) = rest.split_at(end.unwrap_or(rest.len()));
        *to += if is_made_up(run, is_temporary) {
            "*"
        } else {
            run
        };
        let end = more.find(|c: char| c.is_ascii_alphanumeric());
        let (between, more) = more.split_at(end.unwrap_or(more.len()));
        *to += between;
        rest = more;
    }
}

fn is_of_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || "_.-".contains(c)
}

/// Whether a run of letters and digits looks like no word: mkstemp(3) and its like mix small letters,
/// capitals and digits.
fn is_made_up(run: &str, is_temporary: bool) -> bool {
    let class = |c: u8| match c {
        b'0'..=b'9' => 0,
        b'a'..=b'z' => 1,
        _ => 2,
    };
    let bytes = run.as_bytes();
    let changes = bytes.windows(2).filter(|w| class(w[0]) != class(w[1]));
    let changes = changes.count();
    let is_number = bytes.iter().all(u8::is_ascii_digit);
    let is_hex = bytes.iter().all(u8::is_ascii_hexdigit) && changes > 0;
    if is_temporary {
        return is_number && bytes.len() > 1 || bytes.len() >= SHORTEST && changes > 0;
    }
    bytes.len() >= SHORTEST && changes >= 3 || bytes.len() >= 8 && is_hex
}

#[cfg(test)]
mod tests {
    #[test]
    fn what_is_made_up_is_the_same_each_time() {
        let normal = |text| super::normal(text, |pid| (pid == 7).then(|| "<sh>".to_owned()));
        for (text, expected) in [
            ("\"/etc/passwd\"", "\"/etc/passwd\""),
            (
                "\"/usr/lib/x86_64-linux-gnu/libX11.so.6\"",
                "\"/usr/lib/x86_64-linux-gnu/libX11.so.6\"",
            ),
            (
                "\"/usr/lib/python3.11/encodings\"",
                "\"/usr/lib/python3.11/encodings\"",
            ),
            ("\"/tmp/cc4Hs9Xq.s\"", "\"/tmp/*.s\""),
            ("\"/tmp/tmp.kDjwPqLsaB/out\"", "\"/tmp/tmp*/out\""),
            (
                "[\"rm\", \"/tmp/tmp.abcdefghij\", \"-o/tmp/cc4Hs9Xq.s\"]",
                "[\"rm\", \"/tmp/tmp*\", \"-o/tmp/*.s\"]",
            ),
            ("\"/tmp/tmpk3j_9dx2\"", "\"/tmp/tmp*\""),
            ("\"/tmp/sh-thd.1234567\"", "\"/tmp/sh-thd.*\""),
            ("\"/tmp/input\"", "\"/tmp/input\""),
            ("\"/run/sshd-55.sock\"", "\"/run/sshd-*.sock\""),
            ("\"sedaB3dEf\"", "\"*\""),
            ("\".git/objects/ab/93f0cd3a1b\"", "\".git/objects/ab/*\""),
            ("\"/proc/7/status\"", "\"/proc/<sh>/status\""),
            ("\"/proc/8/task/7/comm\"", "\"/proc/PID/task/<sh>/comm\""),
            ("\"/proc/self/maps\"", "\"/proc/self/maps\""),
            ("\"/proc/7\"", "\"/proc/<sh>\""),
        ] {
            assert_eq!(normal(text), expected);
        }
    }
}
