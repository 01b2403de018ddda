//! What the flight recorder costs servers: zones with and without it, else the same, in turns.
//!
//! The rate of answers is what a user sees, and the processor time of the zone's programs for each is the
//! steadier figure: what else the machine does hardly changes it.

use crate::Result;
use crate::measure::{Goal, Measure, NATIVE, Unit, ZONE};
use crate::report::Report;
use crate::services::{self, ab, redis_benchmark};
use crate::zone::{Kind, Zone};
use std::collections::HashMap;
use std::fs;
use std::path::Path;

/// A load of so many requests.
struct Load {
    name: &'static str,
    requests: u32,
    start: fn(&Zone) -> Result<String>,
    rate: fn(&str) -> Result<f64>,
}

const LOADS: [Load; 3] = [
    Load {
        name: "apache keep-alive",
        requests: 10_000,
        start: services::start_apache,
        rate: |place| ab(None, place, &["-k", "-n", "10000", "-c", "8"]),
    },
    Load {
        name: "redis GET",
        requests: services::REDIS_REQUESTS,
        start: |zone| services::start_redis(zone, ""),
        rate: |place| redis_benchmark(None, place, "get"),
    },
    Load {
        name: "redis SET",
        requests: services::REDIS_REQUESTS,
        start: |zone| services::start_redis(zone, ""),
        rate: |place| redis_benchmark(None, place, "set"),
    },
];

/// The most that it may cost.
const MOST: f64 = 0.03;

/// Rates and processor times with the flight recorder (column `zone`) and without (column `native`).
pub(crate) fn run(only: &str, rounds: usize, program: &Path, report: &mut Report) -> Result<()> {
    let names = LOADS.map(|load| {
        let of = |what: &str| format!("{}, flight recorder to none{what}", load.name);
        (of(""), of(": processor time"))
    });
    let is_wanted = |(rate, time): &(String, String)| rate.contains(only) || time.contains(only);
    if !names.iter().any(is_wanted) {
        return Ok(());
    }
    let zones = [Kind::Rewritten, Kind::Flight].map(|kind| Zone::boot(program, kind));
    let [without, with] = zones;
    let zones = [(NATIVE, without?), (ZONE, with?)];
    for (load, (rate_name, time_name)) in LOADS.iter().zip(&names) {
        if !services::are_here(load.name) || !(rate_name.contains(only) || time_name.contains(only))
        {
            continue;
        }
        let mut rate = Measure::new(rate_name, Unit::PerSecond, Goal::Ratio(1.0 - MOST));
        let mut time = Measure::new(time_name, Unit::Nanoseconds, Goal::Ratio(1.0 + MOST));
        let places: Vec<String> = zones
            .iter()
            .map(|(_, zone)| (load.start)(zone))
            .collect::<Result<_>>()?;
        for round in 0..=rounds {
            for ((side, zone), place) in zones.iter().zip(&places) {
                let before = busy(zone)?;
                let found = (load.rate)(place);
                let spent = busy(zone)?.saturating_sub(before);
                if round == 0 {
                    rate.prepare(side, || found.map(drop));
                } else if let Ok(found) = found {
                    rate.take(side, || Ok(found));
                    time.take(side, || per_request(spent, load.requests));
                } else {
                    rate.take(side, || found);
                }
            }
        }
        report.add(rate);
        report.add(time);
    }
    Ok(())
}

fn per_request(spent: u64, requests: u32) -> Result<f64> {
    // Below an hour.
    let spent = u32::try_from(spent / 1000)?;
    Ok(f64::from(spent) * 1000.0 / f64::from(requests))
}

/// Processor time of all of a zone's programs that run, in nanoseconds (proc_pid_schedstat(5)).
fn busy(zone: &Zone) -> Result<u64> {
    let (_, init) = zone.pids()?;
    let mut parents = HashMap::new();
    for entry in fs::read_dir("/proc")?.flatten() {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        // It may have ended.
        let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let behind = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        let parent = behind
            .split_whitespace()
            .nth(1)
            .and_then(|word| word.parse().ok());
        parents.insert(pid, parent.unwrap_or(0));
    }
    let is_below = |mut pid: u64| {
        // No tree of a bench is so deep.
        for _ in 0..100 {
            match parents.get(&pid) {
                _ if pid == init => return true,
                Some(parent) => pid = *parent,
                None => return false,
            }
        }
        false
    };
    let mut all = 0;
    for pid in parents.keys().filter(|pid| is_below(**pid)) {
        let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else {
            continue;
        };
        for thread in threads.flatten() {
            let text = fs::read_to_string(thread.path().join("schedstat")).unwrap_or_default();
            let spent = text
                .split_whitespace()
                .next()
                .and_then(|word| word.parse::<u64>().ok());
            all += spent.unwrap_or(0);
        }
    }
    Ok(all)
}
