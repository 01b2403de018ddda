//! Whole zones, driven through the command line: what a user may rely on.
//!
//! A test body is a function of a [`harness::Home`] that is handed to [`in_each_role`], which runs
//! it as root and as an ordinary user, or to [`confined`], which runs it where the kernel grants
//! neither user namespaces nor ptrace(2). What the machine cannot do is skipped with its reason
//! on standard error.

mod apache;
mod browser;
mod corpus;
mod counts;
mod doctor;
mod escape;
mod execs;
mod faults;
mod guests;
mod harness;
mod health;
mod injected;
mod inside;
mod layers;
mod lifecycle;
mod neighbours;
mod nested;
mod outside;
mod packages;
mod proc;
mod programs;
mod reached;
mod reading;
mod recorded;
mod redis;
mod rewrite;
mod runtimes;
mod servers;
mod sockets;
mod ssh;
mod stacks;
mod strict;
mod terminals;
mod traced;
mod tracers;
mod users;
