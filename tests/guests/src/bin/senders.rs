//! Who is told to have sent a signal, and which ids calls write into memory.

use picozone_guests::children::{End, kill, wait};
use picozone_guests::signals::{Act, count, handle, mask, only};
use picozone_guests::{Result, call, child, from, out, sections, see, signed};
use std::sync::atomic::{AtomicI32, Ordering::SeqCst};

fn main() {
    sections(&[
        ("written", written),
        ("children", children),
        ("codes", codes),
        ("chosen", chosen),
        ("queues", queues),
    ]);
}

fn pid() -> i32 {
    // SAFETY: takes nothing.
    unsafe { libc::getpid() }
}

static PARENTS: AtomicI32 = AtomicI32::new(0);
static CHILDS: AtomicI32 = AtomicI32::new(0);

/// `CLONE_PARENT_SETTID`, `CLONE_CHILD_SETTID`, set_tid_address(2).
fn written() {
    let flags = libc::CLONE_PARENT_SETTID | libc::CLONE_CHILD_SETTID | libc::SIGCHLD;
    let places = [&PARENTS, &CHILDS].map(|place| place.as_ptr() as u64);
    let forked = call(
        libc::SYS_clone,
        &[signed(flags), 0, places[0], places[1], 0],
    );
    if forked == Ok(0) {
        let is_own = CHILDS.load(SeqCst) == pid();
        picozone_guests::children::exit(i32::from(is_own));
    }
    let forked = forked.map_or(0, |pid| i32::try_from(pid).unwrap_or(0));
    see("child", wait(forked, 0).map(|row| row.1));
    let told = PARENTS.load(SeqCst) == forked;
    see("parent", (told, CHILDS.load(SeqCst)));
    // SAFETY: takes nothing.
    let own = u64::from(unsafe { libc::gettid() }.unsigned_abs());
    let told = call(libc::SYS_set_tid_address, &[places[1]]);
    see("address", told == Ok(own));
    // A further thread that sets again what libc has set for it.
    let further = std::thread::spawn(|| {
        const PR_GET_TID_ADDRESS: u64 = 40;
        let mut place = 0u64;
        let had = call(libc::SYS_prctl, &[PR_GET_TID_ADDRESS, out(&mut place)]);
        // SAFETY: takes nothing.
        let own = u64::from(unsafe { libc::gettid() }.unsigned_abs());
        let told = call(libc::SYS_set_tid_address, &[place]);
        (had, told == Ok(own))
    });
    see("of a thread", further.join().expect("it does not panic"));
}

/// Waits for one of the signals; what it says of a sender: signal, code, pid, user, status.
fn next(signals: &[i32]) -> Result<(i32, i32, i32, u32, i32)> {
    let limit = libc::timespec {
        tv_sec: 60,
        tv_nsec: 0,
    };
    // SAFETY: zeros are a valid block.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    let set = only(signals);
    call(
        libc::SYS_rt_sigtimedwait,
        &[from(&set), out(&mut info), from(&limit), 8],
    )?;
    // SAFETY: signals of processes have these members; of others nobody looks at them.
    let sender = unsafe { info.si_pid() };
    // SAFETY: as above.
    let user = unsafe { info.si_uid() };
    // SAFETY: as above.
    let status = unsafe { info.si_status() };
    Ok((info.si_signo, info.si_code, sender, user, status))
}

/// `SIGCHLD` for stops, goings on and ends.
fn children() {
    handle(libc::SIGCHLD, Act::Plain(count), 0).expect("a handler");
    mask(libc::SIG_BLOCK, &only(&[libc::SIGCHLD])).expect("a mask");
    // SAFETY: takes nothing.
    let user = unsafe { libc::getuid() };
    let asleep = child(|| {
        loop {
            // SAFETY: takes nothing.
            unsafe { libc::pause() };
        }
    });
    for (signal, flags) in [
        (libc::SIGSTOP, libc::WUNTRACED),
        (libc::SIGCONT, libc::WCONTINUED),
        (libc::SIGKILL, 0),
    ] {
        let sent = asleep.signal(signal);
        let told = next(&[libc::SIGCHLD]);
        let told = told.map(|(number, code, sender, of, status)| {
            (number, code, sender == asleep.0, of == user, status)
        });
        let end = wait(asleep.0, flags).map(|row| row.1);
        see("child", (sent, told, end));
    }
    see("nothing more", wait(-1, libc::WNOHANG));
}

/// Codes that a program chooses itself.
fn codes() {
    mask(libc::SIG_BLOCK, &only(&[libc::SIGUSR1])).expect("a mask");
    let to = u64::from(pid().unsigned_abs());
    for code in [-1, -3, -4, -6, -60, -100] {
        let sends = child(|| {
            let mut info = [0_i32; 32];
            // Signal, errno, code, and behind padding the sender.
            info[0] = libc::SIGUSR1;
            info[2] = code;
            info[4] = pid();
            let number = u64::from(libc::SIGUSR1.unsigned_abs());
            let sent = call(libc::SYS_rt_sigqueueinfo, &[to, number, from(&info)]);
            i32::from(sent.is_err())
        });
        let end = sends.wait();
        if end == Ok(End::Exited(0)) {
            let told = next(&[libc::SIGUSR1]).map(|row| (row.0, row.1, row.2 == sends.0));
            see("queued", (code, told));
        } else {
            see("refused", (code, end));
        }
    }
    let sends = child(|| i32::from(kill(i32::try_from(to).unwrap_or(0), libc::SIGUSR1).is_err()));
    let told = next(&[libc::SIGUSR1]).map(|row| (row.0, row.1, row.2 == sends.0));
    see("killed", (told, sends.wait()));
}

/// Senders that a program chooses itself: any number and any user.
fn chosen() {
    mask(libc::SIG_BLOCK, &only(&[libc::SIGUSR1])).expect("a mask");
    let number = u64::from(libc::SIGUSR1.unsigned_abs());
    let own = u64::from(pid().unsigned_abs());
    for code in [-1, -4, -60] {
        for (sender, user) in [(0x765_4321, 54321), (-5, -7), (0, 0), (pid(), 54321)] {
            let mut info = [0_i32; 32];
            info[0] = libc::SIGUSR1;
            (info[2], info[4], info[5]) = (code, sender, user);
            let sent = call(libc::SYS_rt_sigqueueinfo, &[own, number, from(&info)]);
            let told = next(&[libc::SIGUSR1]);
            let told = told.map(|row| (row.1, row.2 == sender, row.3 == user.cast_unsigned()));
            see("chosen", (sent, told));
        }
    }
}

/// mq_notify(3) tells who sent the message.
fn queues() {
    mask(libc::SIG_BLOCK, &only(&[libc::SIGUSR2])).expect("a mask");
    let name = c"senders";
    let flags = signed(libc::O_CREAT | libc::O_RDWR);
    let queue = call(libc::SYS_mq_open, &[name.as_ptr() as u64, flags, 0o600, 0]).expect("a queue");
    // struct sigevent: value, signal, SIGEV_SIGNAL.
    let event = [
        7_u64,
        u64::from(libc::SIGUSR2.unsigned_abs()),
        0,
        0,
        0,
        0,
        0,
        0,
    ];
    see("notify", call(libc::SYS_mq_notify, &[queue, from(&event)]));
    let sends = child(|| {
        let sent = call(libc::SYS_mq_timedsend, &[queue, from(&0_u8), 1, 0, 0]);
        i32::from(sent.is_err())
    });
    let told = next(&[libc::SIGUSR2]).map(|row| (row.0, row.1, row.2 == sends.0));
    see("told", (told, sends.wait()));
    see("unlink", call(libc::SYS_mq_unlink, &[name.as_ptr() as u64]));
}
