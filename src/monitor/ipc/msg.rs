//! Message queues (msgget(2), msgop(2), msgctl(2), ipc/msg.c).

use super::super::zone::Zone;
use super::ids::{Caller, Object, Perm, Registry};
use super::record::{Record, word_at};
use super::wait::{Waiter, Waits};
use super::{Context, Kind, Served, int, now};
use crate::ids::ZonePid;
use picozone_personality::capabilities::Power;
use std::collections::VecDeque;

/// Most of `msgmax`: bytes of a message, which fits a mailbox.
pub(super) const TEXT_MAX: usize = 8192;
/// `msgmnb`: bytes of a queue, unless root allows more.
const QUEUE_MAX: u64 = 16384;
/// `msgmni`.
const COUNT_MAX: usize = 32000;
/// Bytes of all messages that the monitor has memory for, and what one costs besides its text.
const ROOM: usize = 64 << 20;
const HEADER: usize = 64;

/// The queues of a zone.
pub(super) struct Queues {
    pub(super) all: Registry<Queue>,
    /// `msgmax`.
    pub(super) text_max: usize,
    /// `msgmnb`.
    pub(super) queue_max: u64,
}

impl Default for Queues {
    fn default() -> Self {
        Queues {
            all: Registry::new(COUNT_MAX),
            text_max: TEXT_MAX,
            queue_max: QUEUE_MAX,
        }
    }
}

#[derive(Clone)]
struct Message {
    kind: i64,
    text: Vec<u8>,
}

/// Which message is wanted (convert_mode).
#[derive(Clone, Copy)]
enum Want {
    Any,
    Equal(i64),
    NotEqual(i64),
    /// The lowest type up to this one.
    UpTo(i64),
    /// By its place in the queue, to be copied only.
    Number(i64),
}

#[derive(Clone, Copy)]
struct Order {
    want: Want,
    room: usize,
    may_cut: bool,
}

pub(super) struct Queue {
    messages: VecDeque<Message>,
    bytes: u64,
    bytes_max: u64,
    stime: i64,
    rtime: i64,
    ctime: i64,
    sender: ZonePid,
    receiver: ZonePid,
    receivers: Vec<(Waiter, ZonePid, Order)>,
    senders: Vec<(Waiter, ZonePid, Message)>,
}

impl Order {
    fn parse(room: u64, kind: i64, flags: i32) -> Result<Order, i32> {
        let room = i64::try_from(room).map_err(|_| libc::EINVAL)?;
        let copies = flags & libc::MSG_COPY != 0;
        let excepts = flags & libc::MSG_EXCEPT != 0;
        if copies && (excepts || flags & libc::IPC_NOWAIT == 0) {
            return Err(libc::EINVAL);
        }
        let want = match kind {
            _ if copies => Want::Number(kind),
            0 => Want::Any,
            1.. if excepts => Want::NotEqual(kind),
            1.. => Want::Equal(kind),
            _ => Want::UpTo(kind.checked_neg().unwrap_or(i64::MAX)),
        };
        Ok(Order {
            want,
            room: usize::try_from(room).unwrap_or(usize::MAX),
            may_cut: flags & libc::MSG_NOERROR != 0,
        })
    }

    fn takes(&self, message: &Message) -> bool {
        match self.want {
            Want::Any => true,
            Want::Equal(kind) => message.kind == kind,
            Want::NotEqual(kind) => message.kind != kind,
            Want::UpTo(kind) => message.kind <= kind,
            Want::Number(_) => false,
        }
    }

    fn find(&self, messages: &VecDeque<Message>) -> Option<usize> {
        match self.want {
            Want::Number(number) => {
                let number = usize::try_from(number).ok()?;
                (number < messages.len()).then_some(number)
            }
            Want::UpTo(_) => {
                let fit = messages.iter().enumerate().filter(|(_, it)| self.takes(it));
                fit.min_by_key(|(_, it)| it.kind).map(|(index, _)| index)
            }
            Want::Any | Want::Equal(_) | Want::NotEqual(_) => {
                messages.iter().position(|it| self.takes(it))
            }
        }
    }

    fn fits(&self, message: &Message) -> bool {
        message.text.len() <= self.room || self.may_cut
    }

    /// What the receiver gets: the length of the text; type and text in its mailbox.
    fn deliver(&self, message: &Message) -> (i64, Vec<u8>) {
        let text = message.text.get(..self.room).unwrap_or(&message.text);
        let length = i64::try_from(text.len()).unwrap_or(0);
        (length, [&message.kind.to_ne_bytes(), text].concat())
    }
}

impl Queue {
    fn has_room(&self, size: usize) -> bool {
        let messages = self.messages.len() as u64;
        size as u64 + self.bytes <= self.bytes_max && messages < self.bytes_max
    }

    /// Hands a message to who waits for it, or puts it into the queue (pipelined_send).
    fn put(&mut self, zone: &Zone, waits: &mut Waits, pid: ZonePid, message: Message) {
        self.sender = pid;
        self.stime = now();
        let mut at = 0;
        while let Some((waiter, receiver, order)) = self.receivers.get(at).copied() {
            if !order.takes(&message) {
                at += 1;
                continue;
            }
            self.receivers.remove(at);
            if !waiter.is_alive() {
                continue;
            }
            if !order.fits(&message) {
                waits.finish(zone, waiter.tid, Err(libc::E2BIG));
                continue;
            }
            self.receiver = receiver;
            self.rtime = now();
            waits.finish(zone, waiter.tid, Ok(order.deliver(&message)));
            return;
        }
        self.bytes += message.text.len() as u64;
        self.messages.push_back(message);
    }

    /// Lets senders go on that have room now, in their order.
    fn refill(&mut self, zone: &Zone, waits: &mut Waits) {
        while let Some((waiter, _, message)) = self.senders.first() {
            if !waiter.is_alive() {
                self.senders.remove(0);
                continue;
            }
            if !self.has_room(message.text.len()) {
                return;
            }
            let (waiter, pid, message) = self.senders.remove(0);
            waits.finish(zone, waiter.tid, Ok((0, Vec::new())));
            self.put(zone, waits, pid, message);
        }
    }

    fn record(&self, perm: &Perm) -> Vec<u8> {
        perm.record()
            .i64s([self.stime, self.rtime, self.ctime])
            .u64s([self.bytes, self.messages.len() as u64, self.bytes_max])
            .u32s([self.sender.0, self.receiver.0])
            .u64s([0, 0])
            .bytes()
    }

    fn held(&self) -> usize {
        let waiting = self.senders.iter().map(|(_, _, it)| it.text.len() + HEADER);
        let bytes = usize::try_from(self.bytes).unwrap_or(usize::MAX);
        bytes + self.messages.len() * HEADER + waiting.sum::<usize>()
    }
}

impl Queues {
    pub(super) fn serve(&mut self, context: &mut Context<'_>) -> Result<Served, i32> {
        match i64::try_from(context.args[0]).unwrap_or(0) {
            libc::SYS_msgget => self.get(context.caller, context.args),
            libc::SYS_msgsnd => self.send(context),
            libc::SYS_msgrcv => self.receive(context),
            libc::SYS_msgctl => self.control(context),
            _ => Err(libc::ENOSYS),
        }
    }

    fn get(&mut self, caller: &Caller, args: [u64; 8]) -> Result<Served, i32> {
        let bytes_max = self.queue_max;
        let id = self.all.get(
            caller,
            int(args[1]).cast_unsigned(),
            int(args[2]).cast_unsigned(),
            |_| Ok(()),
            |_| {
                Ok(Queue {
                    messages: VecDeque::new(),
                    bytes: 0,
                    bytes_max,
                    stime: 0,
                    rtime: 0,
                    ctime: now(),
                    sender: ZonePid(0),
                    receiver: ZonePid(0),
                    receivers: Vec::new(),
                    senders: Vec::new(),
                })
            },
        )?;
        Ok(Served::value(id))
    }

    /// msgsnd(2): args 1 = id, 2 = size, 3 = flags, 4 = type; the text is in the mailbox.
    fn send(&mut self, context: &mut Context<'_>) -> Result<Served, i32> {
        let args = context.args;
        let (id, flags, kind) = (int(args[1]), int(args[3]), args[4].cast_signed());
        let size = usize::try_from(args[2]).map_err(|_| libc::EINVAL)?;
        if size > self.text_max || kind < 1 {
            return Err(libc::EINVAL);
        }
        let held: usize = self.all.all().map(|(_, it)| it.of.held()).sum();
        let Object { perm, of: queue } = self.all.find(id)?;
        perm.permit(context.caller, 0o222)?;
        if held + size + HEADER > ROOM {
            return Err(libc::ENOMEM);
        }
        let text = context.given(size);
        let message = Message { kind, text };
        let pid = context.caller.pid;
        if queue.has_room(size) {
            queue.put(context.zone, context.waits, pid, message);
            return Ok(Served::value(0));
        }
        if flags & libc::IPC_NOWAIT != 0 {
            return Err(libc::EAGAIN);
        }
        let tid = context.caller.tid;
        queue.senders.push((Waiter::new(tid), pid, message));
        context.waits.begin(context.zone, tid, Kind::Msg, id);
        Ok(Served::Waits)
    }

    /// msgrcv(2): args 1 = id, 2 = room, 3 = type, 4 = flags.
    fn receive(&mut self, context: &mut Context<'_>) -> Result<Served, i32> {
        let args = context.args;
        let (id, flags) = (int(args[1]), int(args[4]));
        let order = Order::parse(args[2], args[3].cast_signed(), flags)?;
        let Object { perm, of: queue } = self.all.find(id)?;
        perm.permit(context.caller, 0o444)?;
        let Some(index) = order.find(&queue.messages) else {
            if flags & libc::IPC_NOWAIT != 0 {
                return Err(libc::ENOMSG);
            }
            let tid = context.caller.tid;
            let waiter = Waiter::new(tid);
            queue.receivers.push((waiter, context.caller.pid, order));
            context.waits.begin(context.zone, tid, Kind::Msg, id);
            return Ok(Served::Waits);
        };
        let message = queue.messages.get(index).ok_or(libc::ENOMSG)?;
        if !order.fits(message) {
            return Err(libc::E2BIG);
        }
        let is_copy = matches!(order.want, Want::Number(_));
        if is_copy && message.text.len() > order.room {
            // The kernel copies no part of a message (`copy_msg` in ipc/msgutil.c).
            return Err(libc::EINVAL);
        }
        let (length, bytes) = order.deliver(message);
        if !is_copy {
            queue.bytes -= message.text.len() as u64;
            queue.messages.remove(index);
            queue.rtime = now();
            queue.receiver = context.caller.pid;
            queue.refill(context.zone, context.waits);
        }
        Ok(Served::Done(length, bytes))
    }

    fn control(&mut self, context: &mut Context<'_>) -> Result<Served, i32> {
        const MSG_STAT_ANY: i32 = 13;
        let (id, op) = (int(context.args[1]), int(context.args[2]));
        if id < 0 || op < 0 {
            return Err(libc::EINVAL);
        }
        match op {
            libc::IPC_INFO | libc::MSG_INFO => {
                let small = |count: u64| u32::try_from(count).unwrap_or(u32::MAX);
                let limits = [self.text_max as u64, self.queue_max, self.all.max as u64];
                let [text, queue, count] = limits.map(small);
                let (mut pool, mut map, mut total) =
                    (count.saturating_mul(queue / 1024), queue, queue);
                if op == libc::MSG_INFO {
                    let all = || self.all.all().map(|(_, it)| &it.of);
                    pool = small(self.all.count() as u64);
                    map = small(all().map(|it| it.messages.len() as u64).sum());
                    total = small(all().map(|it| it.bytes).sum());
                }
                let words = Record::default()
                    .u32s([pool, map, text, queue, count])
                    .u32s([16, total, 0xffff]);
                Ok(Served::Done(self.all.highest(), words.bytes()))
            }
            libc::IPC_STAT | libc::MSG_STAT | MSG_STAT_ANY => {
                let (id, object) = if op == libc::IPC_STAT {
                    (0, self.all.find(id)?)
                } else {
                    self.all.at(id)?
                };
                if op != MSG_STAT_ANY {
                    object.perm.permit(context.caller, 0o444)?;
                }
                Ok(Served::Done(i64::from(id), object.of.record(&object.perm)))
            }
            libc::IPC_SET => {
                let given = context.given(120);
                let usual = self.queue_max;
                let Object { perm, of: queue } = self.all.find(id)?;
                perm.own(context.caller)?;
                // `msg_qbytes` of `struct msqid64_ds`.
                let bytes_max = word_at(&given, 88);
                if bytes_max > usual && !context.caller.has(Power::Administer) {
                    return Err(libc::EPERM);
                }
                perm.set(&given)?;
                queue.bytes_max = bytes_max;
                queue.ctime = now();
                queue.refill(context.zone, context.waits);
                Ok(Served::value(0))
            }
            libc::IPC_RMID => {
                self.all.find(id)?.perm.own(context.caller)?;
                let Some(Object { of: queue, .. }) = self.all.remove(id) else {
                    return Err(libc::EINVAL);
                };
                let receivers = queue.receivers.iter().map(|(waiter, ..)| waiter);
                let senders = queue.senders.iter().map(|(waiter, ..)| waiter);
                for waiter in receivers.chain(senders) {
                    let gone = Err(libc::EIDRM);
                    context.waits.finish(context.zone, waiter.tid, gone);
                }
                Ok(Served::value(0))
            }
            _ => Err(libc::EINVAL),
        }
    }

    /// Takes a thread that waits no longer out of a queue's lists.
    pub(super) fn give_up(&mut self, zone: &Zone, waits: &mut Waits, id: i32, tid: u32) {
        if let Ok(object) = self.all.find(id) {
            let queue = &mut object.of;
            queue.receivers.retain(|(waiter, ..)| waiter.tid != tid);
            queue.senders.retain(|(waiter, ..)| waiter.tid != tid);
            queue.refill(zone, waits);
        }
    }

    /// Rows of `/proc/sysvipc/msg`.
    pub(super) fn table(&self) -> Vec<u8> {
        let row = |(id, object): (i32, &Object<Queue>)| {
            let (perm, it) = (&object.perm, &object.of);
            format!(
                "{:10} {id:10}  {:4o}  {:10} {:10} {:5} {:5} {:5} {:5} {:5} {:5} {:10} {:10} {:10}\n",
                perm.key.cast_signed(),
                perm.mode,
                it.bytes,
                it.messages.len(),
                it.sender.0,
                it.receiver.0,
                perm.uid,
                perm.gid,
                perm.cuid,
                perm.cgid,
                it.stime,
                it.rtime,
                it.ctime,
            )
        };
        self.all.all().map(row).collect::<String>().into_bytes()
    }
}
