// The clients' answers of `peers --point xdp`: DATA that is full, and the next of its client, becomes its ACK and goes back from the
// interface, before any socket. All else goes on to the socket of `load/xdp.rs`: OACK, the last block, repeated blocks, ERROR.
//
// It takes clang alone: no header, no library. `CLIENTS`, `FIRST_CLIENT` and `BLOCK` are given on the command line.

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;

// `struct xdp_md` of linux/bpf.h.
struct context {
    u32 data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex;
};

// Ethernet, IPv4 without options, UDP, and the first four bytes of TFTP.
struct packet {
    u8 to_mac[6], from_mac[6];
    u16 ether_type;
    u8 version_and_length, service;
    u16 total_length, id, fragment;
    u8 ttl, protocol;
    u16 ip_sum;
    u32 from, to;
    u16 from_port, to_port, udp_length, udp_sum;
    u16 opcode, block;
} __attribute__((packed));

struct client {
    u16 server_port;
    u16 next_block; // 0: any, after an OACK
};

struct {
    int (*type)[2]; // BPF_MAP_TYPE_ARRAY
    u32 *key;
    struct client *value;
    int (*max_entries)[CLIENTS];
} clients __attribute__((section(".maps"), used));

static void *(*const map_lookup)(void *map, const void *key) = (void *)1;     // bpf_map_lookup_elem
static long (*const adjust_tail)(struct context *packet, int by) = (void *)65; // bpf_xdp_adjust_tail

enum { XDP_DROP = 1, XDP_PASS = 2, XDP_TX = 3 };
enum { DATA = 3, ACK = 4, OACK = 6 };
enum { IPV4 = 0x0800, UDP = 17 };

#define NET16(number) ((u16)__builtin_bswap16(number))

static u16 ip_sum(const struct packet *packet) {
    const u16 *words = (const u16 *)&packet->version_and_length;
    u32 sum = 0;
#pragma unroll
    for (int i = 0; i < 10; i++)
        sum += words[i];
    sum = (sum & 0xffff) + (sum >> 16);
    return ~((sum & 0xffff) + (sum >> 16));
}

__attribute__((section("xdp"), used)) int answer(struct context *context) {
    struct packet *packet = (void *)(long)context->data;
    void *end = (void *)(long)context->data_end;
    if ((void *)(packet + 1) > end || packet->ether_type != NET16(IPV4) || packet->version_and_length != 0x45 ||
        packet->protocol != UDP)
        return XDP_PASS;
    u32 number = __builtin_bswap32(packet->to) - FIRST_CLIENT;
    struct client *client = map_lookup(&clients, &number);
    if (!client)
        return XDP_PASS;
    if (packet->opcode == NET16(OACK)) {
        client->server_port = packet->from_port;
        client->next_block = 0;
    }
    if (packet->opcode != NET16(DATA) || packet->udp_length != NET16(8 + 4 + BLOCK) ||
        packet->from_port != client->server_port)
        return XDP_PASS;
    u16 block = NET16(packet->block);
    if (client->next_block && block != client->next_block)
        return XDP_PASS;
    client->next_block = block + 1;

    if (adjust_tail(context, (int)sizeof *packet - (int)(end - (void *)packet)))
        return XDP_DROP;
    packet = (void *)(long)context->data;
    if ((void *)(packet + 1) > (void *)(long)context->data_end)
        return XDP_DROP;
    u8 mac[6];
    __builtin_memcpy(mac, packet->to_mac, 6);
    __builtin_memcpy(packet->to_mac, packet->from_mac, 6);
    __builtin_memcpy(packet->from_mac, mac, 6);
    u32 from = packet->from;
    packet->from = packet->to;
    packet->to = from;
    u16 from_port = packet->from_port;
    packet->from_port = packet->to_port;
    packet->to_port = from_port;
    packet->total_length = NET16(20 + 8 + 4);
    packet->ip_sum = 0;
    packet->ip_sum = ip_sum(packet);
    packet->udp_length = NET16(8 + 4);
    packet->udp_sum = 0; // none (RFC 768)
    packet->opcode = NET16(ACK);
    return XDP_TX;
}
