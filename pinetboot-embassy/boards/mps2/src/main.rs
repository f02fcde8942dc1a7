//! The appliance on QEMU's `mps2-an385`, for tests: the firmware as on a real board, built for the same processor.
//!
//! ```sh
//! qemu-system-arm -M mps2-an385 -nographic -kernel mps2_an385 -device loader,file=boot.tar,addr=0x21000000,force-raw=on \
//!     -netdev tap,id=net,ifname=tap0,script=no,downscript=no -net nic,model=lan9118,netdev=net
//! ```
//!
//! Its log goes to the first serial port. It has no watchdog, and its LED is not shown.
#![no_std]
#![no_main]

mod clock;
mod hardware;
mod lan9118;
mod register;
mod uart;

use core::panic::PanicInfo;

use embassy_executor::Spawner;
use embassy_net::StackResources;
use lan9118::Lan9118;
use pinetboot_embassy::archive::Archive;
use pinetboot_embassy::storage::Flash;
use pinetboot_embassy::{Board, Memory, SOCKETS, run};
use static_cell::ConstStaticCell;

#[embassy_executor::main]
async fn main(spawner: Spawner) {
    uart::log_to_it();
    clock::start();
    let device = Lan9118::start(MAC).expect("QEMU was given no -net nic,model=lan9118");
    hardware::enable_interrupt(lan9118::INTERRUPT);

    static RESOURCES: ConstStaticCell<StackResources<SOCKETS>> = ConstStaticCell::new(StackResources::new());
    let (stack, runner) = embassy_net::new(device, Default::default(), RESOURCES.take(), 1);
    spawner.spawn(net(runner).expect("the only one"));

    static MEMORY: ConstStaticCell<Memory> = ConstStaticCell::new(Memory::new());
    let archive = Archive::new(hardware::archive());
    log::info!("{} files in the archive", archive.entries().count());
    run(stack, Flash(archive), &mut Emulated, MEMORY.take()).await
}

#[embassy_executor::task]
async fn net(mut runner: embassy_net::Runner<'static, Lan9118>) -> ! {
    runner.run().await
}

/// Has neither LED nor watchdog.
struct Emulated;

impl Board for Emulated {
    fn led(&mut self, _: bool) {}

    fn feed(&mut self) {}
}

#[panic_handler]
fn panicked(info: &PanicInfo<'_>) -> ! {
    log::error!("{info}");
    loop {}
}

const MAC: [u8; 6] = [2, 3, 4, 5, 6, 7];
