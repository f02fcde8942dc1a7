//! The console, on the board's USB port: a serial port to any terminal (CDC-ACM).

use defmt::unwrap;
use embassy_executor::Spawner;
use embassy_rp::peripherals::USB;
use embassy_rp::usb::{Driver, InterruptHandler};
use embassy_rp::{Peri, bind_interrupts};
use embassy_usb::class::cdc_acm::{CdcAcmClass, State};
use embassy_usb::driver::EndpointError;
use embassy_usb::{Builder, Config, UsbDevice};
use heapless::String;
use pinetboot_embassy::Console;
use static_cell::{ConstStaticCell, StaticCell};

use crate::Board;

bind_interrupts!(struct Interrupts {
    USBCTRL_IRQ => InterruptHandler<USB>;
});

type Usb = Driver<'static, USB>;

/// Starts the port and its console.
pub(crate) fn start(spawner: Spawner, usb: Peri<'static, USB>, appliance: &'static Board) {
    static STATE: StaticCell<State<'static>> = StaticCell::new();
    static DESCRIPTORS: ConstStaticCell<([u8; 96], [u8; 64])> = ConstStaticCell::new(([0; 96], [0; 64]));
    // Of a serial port of Raspberry Pi's SDK, which terminals and udev know.
    let mut config = Config::new(0x2e8a, 0x000a);
    config.manufacturer = Some("pinetboot");
    config.product = Some("boot appliance");
    config.max_power = 500; // the board's need with its Ethernet chip
    let (configuration, control) = DESCRIPTORS.take();
    let driver = Driver::new(usb, Interrupts);
    let mut builder = Builder::new(driver, config, configuration, &mut [], &mut [], control);
    let port = CdcAcmClass::new(&mut builder, STATE.init(State::new()), PACKET as u16);
    spawner.spawn(unwrap!(run(builder.build())));
    spawner.spawn(unwrap!(console(port, appliance)));
}

#[embassy_executor::task]
async fn run(mut device: UsbDevice<'static, Usb>) -> ! {
    device.run().await
}

#[embassy_executor::task]
async fn console(mut port: CdcAcmClass<'static, Usb>, appliance: &'static Board) -> ! {
    loop {
        port.wait_connection().await;
        let _unplugged = talk(&mut port, appliance).await;
    }
}

/// Until the port is closed.
async fn talk(port: &mut CdcAcmClass<'static, Usb>, appliance: &Board) -> Result<(), EndpointError> {
    let mut console = Console::new();
    let mut typed = [0; PACKET];
    let mut screen = String::<SCREENFUL>::new();
    loop {
        let len = port.read_packet(&mut typed).await?;
        for byte in typed.get(..len).unwrap_or_default() {
            screen.clear();
            let _cut = appliance.type_byte(&mut console, *byte, &mut screen);
            for packet in screen.as_bytes().chunks(PACKET) {
                port.write_packet(packet).await?;
            }
            if !screen.is_empty() && screen.len().is_multiple_of(PACKET) {
                port.write_packet(&[]).await?; // a full packet says that more comes
            }
        }
    }
}

/// The largest packet of a bulk endpoint at full speed, in bytes.
const PACKET: usize = 64;

/// The longest answer of the console, in bytes.
const SCREENFUL: usize = 1152;
