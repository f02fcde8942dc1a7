// A cable to the world outside: UDP datagrams of one Ethernet frame each, QEMU's `-netdev dgram`.

import { createSocket } from 'node:dgram';

/**
 * Connects the chip with the clients that send datagrams to the address; the last sender gets the chip's frames.
 * @returns the socket, bound
 */
export async function bridge(chip, port = 0, address = '127.0.0.1') {
    const socket = createSocket('udp4');
    let peer = null;
    socket.on('message', (frame, from) => {
        peer = from;
        chip.receive(frame);
    });
    chip.onFrame = (frame) => peer && socket.send(frame, peer.port, peer.address);
    await new Promise((resolve, reject) => socket.once('error', reject).bind(port, address, resolve));
    return socket;
}
