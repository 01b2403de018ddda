//! Kinds of calls, by what the table says of their arguments and results.

use picozone_syscalls::{Kind, Outcome, Row, Space, row};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    /// Names files.
    File,
    /// Is about sockets.
    Net,
    /// Names or gives processes.
    Process,
    /// Names or gives users.
    User,
    /// Is about signals.
    Signal,
    /// Is about IPC and keys.
    Ipc,
    /// Takes a descriptor.
    Desc,
}

pub(super) const CLASSES: [(&str, Class); 7] = [
    ("file", Class::File),
    ("net", Class::Net),
    ("process", Class::Process),
    ("user", Class::User),
    ("signal", Class::Signal),
    ("ipc", Class::Ipc),
    ("desc", Class::Desc),
];

/// The classes that a call is of, by their names without the `%`.
#[must_use]
pub fn classes(nr: u32) -> Vec<&'static str> {
    let row = row(nr);
    let of = |class: Class| row.is_some_and(|row| class.has(row));
    let all = CLASSES.iter().filter(|(_, class)| of(*class));
    all.map(|(name, _)| *name).collect()
}

/// Whether a call belongs to the class of that name; none if there is no such class.
#[must_use]
pub fn has_class(name: &str, row: &Row) -> Option<bool> {
    let (_, class) = CLASSES.iter().find(|(known, _)| *known == name)?;
    Some(class.has(row))
}

impl Class {
    pub(super) fn has(self, row: &Row) -> bool {
        let any = |test: fn(Kind) -> bool| row.args.iter().any(|arg| test(arg.kind));
        match self {
            Self::File => any(|kind| kind.space() == Space::Paths),
            Self::Net => {
                any(|kind| kind.space() == Space::Ports || kind == Kind::SocketDomain)
                    || row.args.iter().any(|arg| arg.name == "sockfd")
            }
            Self::Process => {
                any(|kind| kind.space() == Space::Pids || kind == Kind::Strings)
                    || row.result.space() == Space::Pids
                    || row.result == Outcome::Never
            }
            Self::User => {
                any(|kind| kind.space() == Space::Users) || row.result.space() == Space::Users
            }
            Self::Signal => any(|kind| {
                matches!(
                    kind,
                    Kind::Signal
                        | Kind::SigsetIn
                        | Kind::SigsetOut
                        | Kind::Siginfo
                        | Kind::SiginfoOut
                )
            }),
            Self::Ipc => any(|kind| kind.space() == Space::Ipc) || row.result.space() == Space::Ipc,
            Self::Desc => any(is_descriptor),
        }
    }
}

/// Whether an argument is one descriptor.
pub(super) const fn is_descriptor(kind: Kind) -> bool {
    matches!(kind, Kind::Fd | Kind::DirFd)
}

/// Whether a call takes or gives descriptors.
pub(super) fn has_descriptors(row: &Row) -> bool {
    let mut kinds = row.args.iter().map(|arg| arg.kind);
    row.result == Outcome::Fd || kinds.any(|kind| is_descriptor(kind) || kind == Kind::FdPairOut)
}

/// Whether it takes or gives addresses of sockets.
pub(super) fn has_addresses(row: &Row) -> bool {
    row.args.iter().any(|arg| arg.kind.space() == Space::Ports)
}
