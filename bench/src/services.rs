//! Debian's apache2 and redis-server under load, natively and in the zone.

use crate::Result;
use crate::limited::output;
use crate::measure::{Goal, Measure, NATIVE, Unit, ZONE};
use crate::report::Report;
use crate::turns::Rounds;
use crate::zone::Zone;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const PAGE: &str = "a page of the benchmark\n";
/// How long a server may take to listen.
const PATIENCE: Duration = Duration::from_secs(30);

/// A server that ends with this.
pub(crate) struct Server(pub(crate) Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg(self.0.id().to_string()).status();
        let end = Instant::now() + Duration::from_secs(5);
        while Instant::now() < end {
            if !matches!(self.0.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn is_here(program: &str) -> bool {
    let found = Path::new(program).exists();
    if !found {
        eprintln!("skipped: there is no {program} on this host");
    }
    found
}

pub(crate) fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?
        .local_addr()?
        .port())
}

/// Tries until it succeeds, or the last error.
fn eventually<T>(attempt: impl Fn() -> Result<T>) -> Result<T> {
    let end = Instant::now() + PATIENCE;
    loop {
        match attempt() {
            Err(_) if Instant::now() < end => std::thread::sleep(Duration::from_millis(20)),
            done => return done,
        }
    }
}

/// Waits until somebody accepts.
pub(crate) fn wait_for(place: &str) -> Result<()> {
    eventually(|| Ok(TcpStream::connect(place).map(drop)?))
        .map_err(|error| format!("nobody listens at {place}: {error}").into())
}

/// Waits until something listens on a port of the zone; where the host reaches it.
pub(crate) fn wait_in_zone(zone: &Zone, port: u64) -> Result<String> {
    let place = eventually(|| zone.place(port))?;
    wait_for(&place)?;
    Ok(place)
}

/// A processor for a server of one thread, and one for its load of one thread. The scheduler would have both
/// on one at times, for a whole run, and that decides the rate more than anything else does.
pub(crate) struct Apart {
    /// Shell text that the shell which becomes the server begins with.
    pub(crate) server: String,
    /// The processor of the load, as taskset(1) knows it.
    pub(crate) client: String,
}

/// The first and the last processor that this process may run on, if these are two.
pub(crate) fn apart() -> Option<Apart> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let mut lines = status.lines();
    let list = lines.find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
    let (first, last) = (list.split([',', '-']).next()?, list.rsplit([',', '-']));
    let (first, last) = (first.trim(), last.map(str::trim).next()?);
    (first != last).then(|| Apart {
        server: format!("taskset -pc {last} $$ >/dev/null &&"),
        client: first.to_owned(),
    })
}

/// A program that loads a server, on that processor if on any.
fn load(processor: Option<&str>, program: &str) -> Command {
    let Some(processor) = processor else {
        return Command::new(program);
    };
    let mut command = Command::new("taskset");
    command.args(["-c", processor, program]);
    command
}

/// Requests in a second that ab(1) reports.
pub(crate) fn ab(processor: Option<&str>, place: &str, flags: &[&str]) -> Result<f64> {
    let url = format!("http://{place}/bench.html");
    let text = output(load(processor, "ab").arg("-q").args(flags).arg(&url))?;
    let value = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse::<f64>().ok()
    };
    if value("Failed requests:") != Some(0.0) || text.contains("Non-2xx") {
        return Err(format!("requests to {url} failed:\n{text}").into());
    }
    value("Requests per second:").ok_or_else(|| format!("ab prints no rate:\n{text}").into())
}

/// A server of the host, in a session of its own as daemons are and as programs in a zone are too: the
/// kernel shares the processors between sessions (`sched_autogroup`), and one that shared its client's
/// would be scheduled otherwise.
pub(crate) fn daemon(program: &str) -> Command {
    let mut command = Command::new("setsid");
    command.arg(program).stdin(Stdio::null());
    command
}

/// Whether what a load of this name needs is here.
pub(crate) fn are_here(name: &str) -> bool {
    let programs = match name.split(' ').next() {
        Some("apache") => ["/usr/sbin/apache2", "/usr/bin/ab"],
        _ => ["/usr/bin/redis-server", "/usr/bin/redis-benchmark"],
    };
    programs.into_iter().all(is_here)
}

/// Starts an apache in a zone; where the host reaches it.
pub(crate) fn start_apache(zone: &Zone) -> Result<String> {
    zone.shell(&format!(
        "echo 'ServerName bench' >>/etc/apache2/apache2.conf && mkdir -p /var/www/html &&
         printf '{PAGE}' >/var/www/html/bench.html && apachectl start"
    ))?;
    let place = zone.place(80)?;
    wait_for(&place)?;
    Ok(place)
}

/// Starts a redis-server in a zone, unless one runs there, by a shell that begins with some text; where the
/// host reaches it.
pub(crate) fn start_redis(zone: &Zone, before: &str) -> Result<String> {
    zone.shell(&format!("redis-cli -p 6379 ping >/dev/null 2>&1 || {{ {before} cd /tmp && redis-server --bind 0.0.0.0 --protected-mode no --port 6379 --save '' --daemonize yes --logfile /tmp/redis.log >/dev/null; }}"))?;
    wait_in_zone(zone, 6379)
}

/// Keep-alive and new connections, through the port map.
pub(crate) fn apache(only: &str, rounds: Rounds, zone: &Zone, report: &mut Report) -> Result<()> {
    const KINDS: [(&str, &[&str], f64); 2] = [
        ("apache keep-alive", &["-k", "-n", "10000", "-c", "8"], 0.97),
        ("apache new connection", &["-n", "4000", "-c", "8"], 0.94),
    ];
    let kinds = KINDS.iter().filter(|(name, ..)| name.contains(only));
    if kinds.clone().count() == 0 || !is_here("/usr/sbin/apache2") || !is_here("/usr/bin/ab") {
        return Ok(());
    }
    let in_zone = start_apache(zone)?;
    let directory = tempfile::tempdir()?;
    let port = free_port()?;
    let (_native, outside) = (
        native_apache(directory.path(), port)?,
        format!("127.0.0.1:{port}"),
    );
    wait_for(&outside)?;
    for (name, flags, goal) in kinds {
        compare(name, *goal, rounds, report, [&outside, &in_zone], |place| {
            ab(None, place, flags)
        });
    }
    zone.shell("apachectl stop")?;
    Ok(())
}

/// Rates at a server outside and at one in the zone, in turns.
pub(crate) fn compare(
    name: &str,
    goal: f64,
    rounds: Rounds,
    report: &mut Report,
    places: [&str; 2],
    rate: impl Fn(&str) -> Result<f64>,
) {
    let mut measure = Measure::new(name, Unit::PerSecond, Goal::Ratio(goal));
    let sides = || [NATIVE, ZONE].into_iter().zip(places);
    for (side, place) in sides() {
        measure.prepare(side, || rate(place).map(drop));
    }
    for _ in rounds.turns() {
        for (side, place) in sides() {
            measure.take(side, || rate(place));
        }
    }
    report.add(measure);
}

/// The same configuration as in the zone, but for the directories and the port: both listen as Debian's
/// `Listen 80` does, at `[::]`.
fn native_apache(directory: &Path, port: u16) -> Result<Server> {
    let text = directory
        .to_str()
        .ok_or("a temporary directory that is no text")?;
    let script = format!(
        "cp -a /etc/apache2 {text}/etc && mkdir {text}/html {text}/log {text}/run {text}/lock &&
         chmod 755 {text} && printf '{PAGE}' >{text}/html/bench.html && cd {text}/etc &&
         echo 'Listen {port}' >ports.conf && printf 'ServerName bench\\nDocumentRoot {text}/html\\n' >>apache2.conf &&
         sed -i 's#/var/www#{text}#' sites-available/*.conf apache2.conf"
    );
    let status = Command::new("sh").args(["-c", &script]).status()?;
    if !status.success() {
        return Err(format!("the native apache cannot be set up in {text}").into());
    }
    let child = daemon("/usr/sbin/apache2")
        .args(["-d", &format!("{text}/etc"), "-D", "FOREGROUND"])
        .env("APACHE_RUN_USER", "www-data")
        .env("APACHE_RUN_GROUP", "www-data")
        .env("APACHE_PID_FILE", format!("{text}/run/apache2.pid"))
        .env("APACHE_RUN_DIR", format!("{text}/run"))
        .env("APACHE_LOCK_DIR", format!("{text}/lock"))
        .env("APACHE_LOG_DIR", format!("{text}/log"))
        .spawn()?;
    Ok(Server(child))
}

/// GET and SET of redis-benchmark(1).
pub(crate) fn redis(only: &str, rounds: Rounds, zone: &Zone, report: &mut Report) -> Result<()> {
    let names = [("redis GET", "get"), ("redis SET", "set")];
    let wanted = names.iter().filter(|(name, _)| name.contains(only));
    if wanted.clone().count() == 0
        || !is_here("/usr/bin/redis-server")
        || !is_here("/usr/bin/redis-benchmark")
    {
        return Ok(());
    }
    let port = free_port()?;
    let directory = tempfile::tempdir()?;
    let apart = apart();
    let (alone, client) = apart
        .as_ref()
        .map_or(("", None), |apart| (&*apart.server, Some(&*apart.client)));
    let script =
        format!("{alone} exec /usr/bin/redis-server --port {port} --bind 127.0.0.1 --save ''");
    let _native = Server(
        daemon("sh")
            .args(["-c", &script])
            .current_dir(directory.path())
            .stdout(Stdio::null())
            .spawn()?,
    );
    let (outside, in_zone) = (format!("127.0.0.1:{port}"), start_redis(zone, alone)?);
    wait_for(&outside)?;
    for (name, test) in wanted {
        compare(name, 0.97, rounds, report, [&outside, &in_zone], |place| {
            redis_benchmark(client, place, test)
        });
    }
    zone.shell("redis-cli -p 6379 shutdown nosave || true")?;
    Ok(())
}

/// How many each run of [`redis_benchmark`] sends.
pub(crate) const REDIS_REQUESTS: u32 = 200_000;

/// Requests in a second that redis-benchmark(1) reports.
pub(crate) fn redis_benchmark(processor: Option<&str>, place: &str, test: &str) -> Result<f64> {
    let (host, port) = place.split_once(':').ok_or("an address without port")?;
    let count = REDIS_REQUESTS.to_string();
    let text = output(load(processor, "/usr/bin/redis-benchmark").args([
        "-h", host, "-p", port, "-t", test, "-n", &count, "-c", "20", "--csv",
    ]))?;
    let row = text
        .lines()
        .find(|line| line.to_lowercase().starts_with(&format!("\"{test}\"")));
    row.and_then(|row| row.split(',').nth(1)?.trim_matches('"').parse().ok())
        .ok_or_else(|| format!("redis-benchmark prints no rate:\n{text}").into())
}
