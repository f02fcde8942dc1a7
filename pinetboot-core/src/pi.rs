//! What only a Raspberry Pi does.
