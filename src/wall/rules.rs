//! Landlock: file rules for the zone's trees, and the scopes of signals and abstract sockets.

use landlock::{
    ABI, Access, AccessFs, BitFlags, CompatLevel, Compatible, PathBeneath, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetError, Scope,
};
use std::os::fd::BorrowedFd;

/// What a zone may do with a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Right {
    /// Read and execute.
    Read,
    /// Everything but making device nodes.
    Write,
}

/// The Landlock ABI that the promises need: scopes came with 6 (Linux 6.12).
pub const NEEDED: ABI = ABI::V6;

fn access(right: Right) -> BitFlags<AccessFs> {
    match right {
        Right::Read => AccessFs::from_read(NEEDED),
        Right::Write => {
            AccessFs::from_all(NEEDED)
                & !(AccessFs::MakeChar | AccessFs::MakeBlock | AccessFs::IoctlDev)
        }
    }
}

/// Puts the rules on the calling thread and what it forks.
///
/// # Errors
/// The kernel has no Landlock, or an older one.
pub fn restrict(trees: &[(BorrowedFd<'_>, Right)]) -> Result<(), RulesetError> {
    let mut rules = Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(NEEDED))?
        .scope(Scope::from_all(NEEDED))?
        .create()?;
    for (tree, right) in trees {
        rules = rules.add_rule(PathBeneath::new(tree, access(*right)))?;
    }
    rules.restrict_self()?;
    Ok(())
}
