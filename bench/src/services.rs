//! Debian's apache2 and redis-server under load, natively and in the zone.

use crate::Result;
use crate::report::{Measure, NATIVE, Report, Unit, ZONE};
use crate::zone::Zone;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

const PAGE: &str = "a page of the benchmark\n";

/// A program of the host that ends with this.
struct Native(Child);

impl Drop for Native {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg(self.0.id().to_string()).status();
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

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?
        .local_addr()?
        .port())
}

/// Waits until somebody accepts, at most as long as connecting refuses quickly: 5 s.
fn wait_for(place: &str) -> Result<()> {
    let end = std::time::Instant::now() + std::time::Duration::from_secs(5);
    while TcpStream::connect(place).is_err() {
        if std::time::Instant::now() > end {
            return Err(format!("nobody listens at {place}").into());
        }
        std::thread::yield_now();
    }
    Ok(())
}

/// Requests in a second that ab(1) reports.
fn ab(place: &str, flags: &[&str]) -> Result<f64> {
    let url = format!("http://{place}/bench.html");
    let output = Command::new("ab")
        .arg("-q")
        .args(flags)
        .arg(&url)
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let value = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse::<f64>().ok()
    };
    if value("Failed requests:") != Some(0.0) || text.contains("Non-2xx") {
        return Err(format!("requests to {url} failed:\n{text}").into());
    }
    value("Requests per second:").ok_or_else(|| format!("ab prints no rate:\n{text}").into())
}

/// Keep-alive and new connections, through the port map.
pub(crate) fn apache(only: &str, rounds: usize, zone: &Zone, report: &mut Report) -> Result<()> {
    const KINDS: [(&str, &[&str]); 2] = [
        ("apache keep-alive", &["-k", "-n", "10000", "-c", "8"]),
        ("apache new connection", &["-n", "4000", "-c", "8"]),
    ];
    let kinds = KINDS.iter().filter(|(name, _)| name.contains(only));
    if kinds.clone().count() == 0 || !is_here("/usr/sbin/apache2") || !is_here("/usr/bin/ab") {
        return Ok(());
    }
    zone.shell(&format!(
        "echo 'ServerName bench' >>/etc/apache2/apache2.conf && mkdir -p /var/www/html &&
         printf '{PAGE}' >/var/www/html/bench.html && apachectl start"
    ))?;
    let in_zone = zone.place(80)?;
    let directory = tempfile::tempdir()?;
    let port = free_port()?;
    let (_native, outside) = (
        native_apache(directory.path(), port)?,
        format!("127.0.0.1:{port}"),
    );
    wait_for(&outside)?;
    wait_for(&in_zone)?;
    for (name, flags) in kinds {
        let mut measure = Measure::new(name, Unit::PerSecond, Some(0.75));
        for place in [&outside, &in_zone] {
            ab(place, flags)?;
        }
        for _ in 0..rounds {
            measure.push(NATIVE, ab(&outside, flags)?);
            measure.push(ZONE, ab(&in_zone, flags)?);
        }
        report.add(measure);
    }
    zone.shell("apachectl stop")?;
    Ok(())
}

/// The same configuration as in the zone, but for the directories and the port.
fn native_apache(directory: &Path, port: u16) -> Result<Native> {
    let text = directory
        .to_str()
        .ok_or("a temporary directory that is no text")?;
    let script = format!(
        "cp -a /etc/apache2 {text}/etc && mkdir {text}/html {text}/log {text}/run {text}/lock &&
         chmod 755 {text} && printf '{PAGE}' >{text}/html/bench.html && cd {text}/etc &&
         echo 'Listen 127.0.0.1:{port}' >ports.conf && printf 'ServerName bench\\nDocumentRoot {text}/html\\n' >>apache2.conf &&
         sed -i 's#/var/www#{text}#' sites-available/*.conf apache2.conf"
    );
    let status = Command::new("sh").args(["-c", &script]).status()?;
    if !status.success() {
        return Err(format!("the native apache cannot be set up in {text}").into());
    }
    let child = Command::new("/usr/sbin/apache2")
        .args(["-d", &format!("{text}/etc"), "-D", "FOREGROUND"])
        .env("APACHE_RUN_USER", "www-data")
        .env("APACHE_RUN_GROUP", "www-data")
        .env("APACHE_PID_FILE", format!("{text}/run/apache2.pid"))
        .env("APACHE_RUN_DIR", format!("{text}/run"))
        .env("APACHE_LOCK_DIR", format!("{text}/lock"))
        .env("APACHE_LOG_DIR", format!("{text}/log"))
        .stdin(Stdio::null())
        .spawn()?;
    Ok(Native(child))
}

/// GET and SET of redis-benchmark(1).
pub(crate) fn redis(only: &str, rounds: usize, zone: &Zone, report: &mut Report) -> Result<()> {
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
    let _native = Native(
        Command::new("/usr/bin/redis-server")
            .args([
                "--port",
                &port.to_string(),
                "--bind",
                "127.0.0.1",
                "--save",
                "",
            ])
            .current_dir(directory.path())
            .stdout(Stdio::null())
            .spawn()?,
    );
    zone.shell("cd /tmp && redis-server --bind 0.0.0.0 --protected-mode no --port 6379 --save '' --daemonize yes --logfile /tmp/redis.log >/dev/null")?;
    let (outside, mut in_zone) = (format!("127.0.0.1:{port}"), Err("never asked".into()));
    let end = std::time::Instant::now() + std::time::Duration::from_secs(5);
    while in_zone.is_err() && std::time::Instant::now() < end {
        in_zone = zone.place(6379);
    }
    let in_zone = in_zone?;
    wait_for(&outside)?;
    wait_for(&in_zone)?;
    for (name, test) in wanted {
        let mut measure = Measure::new(name, Unit::PerSecond, Some(0.95));
        for _ in 0..rounds {
            measure.push(NATIVE, redis_benchmark(&outside, test)?);
            measure.push(ZONE, redis_benchmark(&in_zone, test)?);
        }
        report.add(measure);
    }
    zone.shell("redis-cli -p 6379 shutdown nosave || true")?;
    Ok(())
}

fn redis_benchmark(place: &str, test: &str) -> Result<f64> {
    let (host, port) = place.split_once(':').ok_or("an address without port")?;
    let output = Command::new("/usr/bin/redis-benchmark")
        .args([
            "-h", host, "-p", port, "-t", test, "-n", "50000", "-c", "20", "--csv",
        ])
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let row = text
        .lines()
        .find(|line| line.to_lowercase().starts_with(&format!("\"{test}\"")));
    row.and_then(|row| row.split(',').nth(1)?.trim_matches('"').parse().ok())
        .ok_or_else(|| format!("redis-benchmark prints no rate:\n{text}").into())
}
