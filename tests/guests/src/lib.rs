//! What the guest programs of the tests share.
