//! The log on the first serial port: a CMSDK UART.

use core::fmt::{self, Write};

use log::{Log, Metadata, Record};

use crate::hardware;
use crate::register::Register;

const DATA: Register = Register::at(0x4000_4000);
const STATE: Register = Register::at(0x4000_4004);
const CONTROL: Register = Register::at(0x4000_4008);
const DIVISOR: Register = Register::at(0x4000_4010);

const FULL: u32 = 1;
const TRANSMIT: u32 = 1;

struct Uart;

/// Sends the log there from now on.
pub(crate) fn log_to_it() {
    DIVISOR.write(16);
    CONTROL.write(TRANSMIT);
    hardware::log_to(&Uart);
}

impl Write for &Uart {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            while STATE.read() & FULL != 0 {}
            DATA.write(byte.into());
        }
        Ok(())
    }
}

impl Log for Uart {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let mut out = self;
        let _written = writeln!(out, "{} {}", record.level(), record.args());
    }

    fn flush(&self) {}
}
