/*
 * cell_can.h: Cell's vesicles on a CAN bus, for a device that serves methods to
 * one host (docs/CAN.md). It stands on cell.h and is written like it: C99, no
 * heap, no libc, buffers that the caller provides.
 *
 *	static uint8_t in[CELL_CAN_BUFFER(64)], out[CELL_CAN_BUFFER(64)];
 *	static const cell_method methods[] = {{0x1d2c...u, read_sensor, CELL_ON_UNARY}};
 *	static cell_can can;
 *
 *	cell_can_init(&can, 5u, in, out, 64u, methods, 1u, controller_send, NULL, session);
 *	for (;;) {
 *		while (controller_receive(&frame)) { cell_can_take(&can, &frame, millis()); }
 *		cell_can_poll(&can, millis());
 *	}
 *
 * The methods are the node's routes: their fingerprints travel as small numbers.
 * Request and reply have a buffer each. While a reply waits for the bus, requests
 * are not taken, and the host sends them again: that is flow control without
 * queues. Frames of the device that the host lacks (its own queue overflowed, or the
 * device's controller went bus-off) are sent again while their vesicle is still in
 * its buffer, as a reply is until the next request or event. Afterwards nobody has
 * them: the link ends, and the host begins a new one.
 *
 * The controller must send a node's frames in the order in which it was given
 * them, and its queue of received frames must hold CELL_CAN_WINDOW.
 */
#ifndef CELL_CAN_H
#define CELL_CAN_H

#include "cell.h"

/* Data bytes of a frame: 8, or 64 for a controller that does CAN FD. */
#ifndef CELL_CAN_DATA
#define CELL_CAN_DATA 8u
#endif

/* How many frames the host may send ahead: a power of two, 4 to 128. */
#ifndef CELL_CAN_WINDOW
#define CELL_CAN_WINDOW 8u
#endif

/* Tables of 1 << CELL_CAN_BITS correlations that need not be sent, 0 to 5: as many
 * calls may be under way in turn with one frame each way. Each place more takes
 * 24 bytes of RAM. */
#ifndef CELL_CAN_BITS
#define CELL_CAN_BITS 0u
#endif

/* Milliseconds: between two signs of life, and until a host counts as gone. */
#ifndef CELL_CAN_BEAT
#define CELL_CAN_BEAT 250u
#endif
#ifndef CELL_CAN_DEAD
#define CELL_CAN_DEAD 1000u
#endif

#define CELL_CAN_PREFIX 17u /* the longest header on the bus */
#define CELL_CAN_CHECK 2u
#define CELL_CAN_RESIDUE 0xF0B8u /* the check of anything with its check behind it */
/* How many bytes a buffer for payloads of up to n bytes needs. */
#define CELL_CAN_BUFFER(n) (CELL_CAN_PREFIX + (n) + CELL_CAN_CHECK)

#define CELL_CAN_CONTROL 0u
#define CELL_CAN_START 6u
#define CELL_CAN_NEXT 7u
#define CELL_CAN_NO_ROUTE 63u

#define CELL_CAN_VERSION 2u

/* So many frames are told apart by the bits of their number that a start or a
 * short frame carries; the host is told of what has arrived twice as often. */
#define CELL_CAN_DISTINCT 16u
#define CELL_CAN_OFTEN ((CELL_CAN_WINDOW < CELL_CAN_DISTINCT) ? (CELL_CAN_WINDOW / 2u) : (CELL_CAN_DISTINCT / 2u))

/* The operations of control frames, in the order in which they are sent. Bit n of
 * what is due says that operation n is to be sent. */
#define CELL_CAN_HELLO 0u
#define CELL_CAN_ROUTE 1u
#define CELL_CAN_READY 2u
#define CELL_CAN_FLOW 3u
#define CELL_CAN_RESUME 4u /* only the host sends it */
#define CELL_CAN_BYE 5u
#define CELL_CAN_DUE(op) (1u << (op))
#define CELL_CAN_GREETING (CELL_CAN_DUE(CELL_CAN_HELLO) | CELL_CAN_DUE(CELL_CAN_ROUTE) | CELL_CAN_DUE(CELL_CAN_READY))

#define CELL_CAN_BYE_UNKNOWN 3u

#define CELL_CAN_HELLO_FD 1u
#define CELL_CAN_HELLO_ASKS 4u

typedef struct {
	uint32_t id;     /* 29 bits */
	uint8_t fd;      /* FD format, with bit rate switch */
	uint8_t length;  /* data bytes: up to 8, or 12, 16, 20, 24, 32, 48, 64 */
	uint8_t data[CELL_CAN_DATA];
} cell_can_frame;

/* cell_can_write puts a frame into the controller's queue; 0 if there is no
 * room now. */
typedef uint8_t (*cell_can_write)(void *port, const cell_can_frame *f);

#define CELL_CAN_PLACES (1u << CELL_CAN_BITS)

/* What both ends of one direction know of the vesicles before. The tables of
 * correlations are for those of callers, for echoed ones, and for events, which
 * have one place. */
typedef struct {
	uint32_t place[3][CELL_CAN_PLACES];
	uint32_t stride[3];
} cell_can_memory;

/* A link. Small members come first: the code that reaches them is smaller. */
typedef struct {
	uint8_t open;      /* the host has our hello */
	uint8_t due;       /* what is to be sent; see CELL_CAN_DUE */
	uint8_t route;     /* the next to be told */
	uint8_t size;      /* data bytes of a frame */
	uint8_t gap;       /* why no data is taken until the host resumes, or 0 */
	uint8_t mask;      /* places in use, less one */
	uint8_t round;     /* of the host's last resume */
	uint8_t back;      /* of this side's last resume, and 1 until the host has answered it */
	uint8_t method;    /* index of the one that the last vesicle is of; count if none */
	uint8_t from_channel; /* channel and hops of the last vesicle, either way */
	uint8_t from_hops;
	uint8_t to_channel;
	uint8_t to_hops;
	uint16_t peer_session;

	/* incoming */
	uint16_t expected; /* number of the frame that is wanted */
	uint16_t total;    /* content of the vesicle under way; 0 if none is */
	uint16_t done;
	uint16_t check;    /* running, of all frames that were taken */

	/* outgoing: the vesicle in out */
	uint16_t sent;  /* number of the frame that is sent next */
	uint16_t taken; /* number of the first that the host has not acknowledged */
	uint16_t limit; /* number of the first that may not be sent */
	uint16_t said;  /* what sent was when the host spoke last */
	uint16_t out_total;
	uint16_t out_done;

	uint32_t id;     /* of the first frame under way */
	uint32_t out_id;
	const uint8_t *content; /* of the vesicle in out */
	cell_can_memory from;
	cell_can_memory to;
} cell_can_link;

/* What is a constant where there is no choice. */
#define CELL_CAN_SIZE(l) ((CELL_CAN_DATA > 8u) ? (l)->size : 8u)
#define CELL_CAN_MASK(l) ((CELL_CAN_BITS == 0u) ? 0u : (l)->mask)

typedef struct {
	uint8_t node;
	uint8_t peer;     /* CELL_CAN_NOBODY without a link */
	uint16_t limit;   /* payload bytes that either buffer takes */
	uint16_t session; /* of this side; grows with each link */
	cell_can_link link;
	const cell_method *methods;
	uint32_t count; /* of methods */
	cell_can_write write;
	void *port;
	uint8_t *in;
	uint8_t *out;
	uint32_t heard; /* milliseconds */
	uint32_t beat;
} cell_can;

#define CELL_CAN_NOBODY 127u

/* ---- correlations ---- */

/* cell_can_table says which table the correlations of a kind are in. */
CELL_API uint32_t cell_can_table(uint32_t kind) {
	return (0x11650u >> (2u * kind)) & 3u; /* two bits for each kind */
}

#define CELL_CAN_UNFORESEEN 0x80u

/* cell_can_foresee notes a correlation and returns the token from which the peer
 * works it out, or CELL_CAN_UNFORESEEN. */
CELL_API uint32_t cell_can_foresee(cell_can_memory *m, uint32_t mask, uint32_t kind, uint32_t correlation) {
	const uint32_t table = cell_can_table(kind);
	const uint32_t e = (table > 1u) ? 0u : (correlation & mask);
	const uint32_t step = correlation - m->place[table][e];
	uint32_t token = e;

	m->place[table][e] = correlation;
	if (step == 0u) {
		/* as before */
	} else if (table > 1u) {
		token = CELL_CAN_UNFORESEEN;
	} else if (step == m->stride[table]) {
		token |= 0x40u;
	} else {
		m->stride[table] = step;
		token = CELL_CAN_UNFORESEEN;
	}
	return token;
}

/* cell_can_advance works out a correlation from a token. It returns 0 for one
 * that no sender makes. */
CELL_API uint32_t cell_can_advance(cell_can_memory *m, uint32_t mask, uint32_t kind, uint32_t token, uint32_t *correlation) {
	const uint32_t table = cell_can_table(kind);
	const uint32_t e = token & 0xBFu;
	const uint32_t ok = (e <= ((table > 1u) ? 0u : mask)) ? 1u : 0u;

	if (ok != 0u) {
		if (e != token) {
			m->place[table][e] += m->stride[table]; /* that of events is 0 */
		}
		*correlation = m->place[table][e];
	}
	return ok;
}

/* ---- frames ---- */

/* cell_can_length returns the length of a frame for n bytes. */
CELL_API uint32_t cell_can_length(uint32_t n) {
	uint32_t length = n;

	if ((CELL_CAN_DATA > 8u) && (n > 8u)) {
		length = (n + 3u) & ~3u;
		if (n > 24u) {
			length = (n > 48u) ? 64u : ((n > 32u) ? 48u : 32u);
		}
	}
	return length;
}

/* cell_can_check goes on with a check by an identifier and n bytes. */
CELL_API uint32_t cell_can_check(uint32_t crc, uint32_t id, const uint8_t *b, uint32_t n) {
	uint32_t c = crc;
	uint32_t i;

	/* One loop: two would be two copies of the checksum's own. */
	for (i = 0u; i < (n + 4u); i++) {
		const uint8_t x = (i < 4u) ? (uint8_t)(id >> (8u * i)) : b[i - 4u];

		c = cell_crc(c, &x, 1u, CELL_CRC16);
	}
	return c;
}

/* cell_can_begin prepares the vesicle of h, whose payload is at
 * &out[CELL_CAN_PREFIX], to be sent. Its fingerprint is that of the method with
 * this index, or of none. */
CELL_API void cell_can_begin(cell_can *c, const cell_header *h, uint32_t method) {
	cell_can_link *const l = &c->link;
	uint8_t *const payload = &c->out[CELL_CAN_PREFIX];
	uint8_t *b = payload;
	const uint32_t token = cell_can_foresee(&l->to, CELL_CAN_MASK(l), h->kind, h->correlation);
	uint32_t route = method;
	uint32_t class_ = CELL_CAN_START;
	/* The first three bytes of a start. What is in here before the end, a short header
	 * can't say. */
	uint32_t form = ((h->flags & CELL_FLAG_MORE) << 3) | ((h->flags & CELL_FLAG_FRAGMENT) << 1) |
	                ((uint32_t)(h->flags & CELL_FLAG_DEADLINE) << 21);

	/* The header is written from its end, right before the payload. */
	if (route >= c->count) {
		route = CELL_CAN_NO_ROUTE;
		b -= 8;
		cell_put64(b, h->fingerprint);
	}
	if ((h->channel != l->to_channel) || (h->hops != l->to_hops)) {
		b -= 2;
		b[0] = h->channel;
		b[1] = h->hops;
		l->to_channel = h->channel;
		l->to_hops = h->hops;
		form |= 0x400000u;
	}
	if (token == CELL_CAN_UNFORESEEN) {
		b -= 4;
		cell_put32(b, h->correlation);
		form |= 0x80u;
	} else {
		b -= 1;
		b[0] = (uint8_t)token;
	}
	/* Requests, replies, events, items and credit have a class of their own. */
	if ((form == 0u) && (route != CELL_CAN_NO_ROUTE) && (((0x76u >> h->kind) & 1u) != 0u) && (h->length < 8u)) {
		class_ = h->kind - ((h->kind > CELL_ERROR) ? 1u : 0u);
		b[0] |= (uint8_t)((h->flags & CELL_FLAG_END) << 6);
	} else {
		b -= 3;
		form |= (h->kind - 1u) | ((h->flags & CELL_FLAG_END) << 3) | ((uint32_t)(&payload[h->length] - b) << 8);
		cell_put(b, form, 3u);
	}
	b[0] |= (uint8_t)((l->sent & 8u) << 2);
	l->out_id = ((7u - ((h->flags & CELL_FLAG_PRIORITY) >> 2)) << 26) | (class_ << 23) | ((uint32_t)c->peer << 16) |
	            ((uint32_t)c->node << 9) | (route << 3);
	l->content = b;
	l->out_total = (uint16_t)(&payload[h->length] - b);
	l->out_done = 0u;
	if (l->out_total > CELL_CAN_SIZE(l)) {
		cell_put(&payload[h->length], ~cell_can_check(0xFFFFu, l->out_id, b, l->out_total), 2u);
		l->out_total += CELL_CAN_CHECK;
	}
}

/* cell_can_cut makes the next frame of the vesicle under way, and returns how much
 * of that is done with it. */
CELL_API uint32_t cell_can_cut(const cell_can_link *l, cell_can_frame *f) {
	uint32_t done = l->out_done;
	uint32_t i = l->out_total - done;

	f->id = l->out_id | (l->sent & 7u);
	if (done != 0u) {
		f->id = (l->out_id & ~0x1FFu) | (CELL_CAN_NEXT << 23) | (l->sent & 0x1FFu);
	}
	f->length = (uint8_t)cell_can_length((i < CELL_CAN_SIZE(l)) ? i : CELL_CAN_SIZE(l));
	f->fd = (l->size > 8u) ? 1u : 0u;
	for (i = 0u; i < f->length; i++) {
		f->data[i] = 0u;
		if (done != l->out_total) {
			f->data[i] = l->content[done];
			done++;
		}
	}
	return done;
}

/* cell_can_busy says whether out holds a vesicle that has not been sent. */
CELL_API uint32_t cell_can_busy(const cell_can *c) { return (c->link.out_done != c->link.out_total) ? 1u : 0u; }

/* cell_can_finish reads the header of the vesicle in in, which is whole. */
CELL_API cell_result cell_can_finish(cell_can *c, cell_call *call) {
	cell_can_link *const l = &c->link;
	cell_header *const h = &call->header;
	const uint8_t *b = c->in;
	const uint8_t *end = &b[l->total];
	const uint32_t class_ = (l->id >> 23) & 7u;
	const uint32_t route = (l->id >> 3) & 63u;
	uint32_t form = 0u; /* the first byte of a start, and the bits of its length */
	uint32_t token;
	cell_result result = CELL_OK;

	h->kind = (uint8_t)(class_ + ((class_ > 2u) ? 1u : 0u));
	h->flags = (uint8_t)((b[0] >> 6) & CELL_FLAG_END);
	token = b[0] & 0x5Fu;
	if (class_ == CELL_CAN_START) {
		if (l->total > CELL_CAN_SIZE(l)) {
			end -= CELL_CAN_CHECK;
			if (cell_can_check(0xFFFFu, l->id & ~7u, b, l->total) != CELL_CAN_RESIDUE) {
				result = CELL_BAD_CRC;
			}
		}
		form = cell_get(b, 3u);
		h->kind = (uint8_t)((form & 7u) + 1u);
		h->flags = (uint8_t)(((form >> 3) & 3u) | ((form >> 1) & CELL_FLAG_FRAGMENT) | ((form >> 21) & CELL_FLAG_DEADLINE));
		b = &b[3];
		token = b[0];
	}
	if ((form & 0x80u) == 0u) {
		if (cell_can_advance(&l->from, CELL_CAN_MASK(l), h->kind, token, &h->correlation) == 0u) {
			result = CELL_BAD_FORM;
		}
		b = &b[1];
	} else {
		h->correlation = cell_get32(b);
		(void)cell_can_foresee(&l->from, CELL_CAN_MASK(l), h->kind, h->correlation);
		b = &b[4];
	}
	if ((form & 0x400000u) != 0u) {
		l->from_channel = b[0];
		l->from_hops = b[1];
		b = &b[2];
	}
	if (route < c->count) {
		h->fingerprint = c->methods[route].fingerprint;
	} else if ((route == CELL_CAN_NO_ROUTE) && (class_ == CELL_CAN_START)) {
		h->fingerprint = cell_get64(b); /* of nothing here, or it would have a route */
		b = &b[8];
	} else {
		result = CELL_BAD_FORM;
	}
	l->method = (uint8_t)route;
	h->flags |= (uint8_t)((7u - (l->id >> 26)) << 2);
	h->channel = l->from_channel;
	h->hops = l->from_hops;
	h->length = (uint32_t)(end - b);
	call->request = b;
	if ((b > end) || (h->length > c->limit)) {
		result = CELL_BAD_LENGTH;
	}
	return (result == CELL_OK) ? cell_header_check(h) : result;
}

/* Why nothing is taken. */
#define CELL_CAN_LOST 1u /* frames are missing; the host has been told, or will be */
#define CELL_CAN_HELD 2u /* out is in use; the host will be told when it is not */

/* cell_can_join takes the data frame that is next in its direction. CELL_OK:
 * with it a vesicle is whole, call->header its header, and call->request its
 * payload. CELL_MORE: go on; or, if gap is set now, the frame was not taken.
 * Anything else: no host sends that. */
CELL_API cell_result cell_can_join(cell_can *c, const cell_can_frame *f, cell_call *call) {
	cell_can_link *const l = &c->link;
	const uint32_t class_ = (f->id >> 23) & 7u;
	cell_result result = CELL_MORE;
	uint32_t n = l->total;
	uint32_t i;

	if (n != 0u) {
		if ((class_ != CELL_CAN_NEXT) || (((f->id ^ l->id) >> 26) != 0u)) {
			result = CELL_BAD_FORM;
		}
	} else {
		l->id = f->id;
		l->done = 0u;
		n = f->length;
		if (class_ == CELL_CAN_START) {
			n = cell_get(&f->data[1], 2u) & 0x3FFFu;
			if (n < 4u) {
				n = 0u;
			}
		} else if (n > 8u) {
			n = 0u;
		} else {
			/* the short header */
		}
		if ((class_ == CELL_CAN_NEXT) || (((f->id >> 26) & 1u) == 0u) || ((n - 1u) >= (CELL_CAN_PREFIX + c->limit))) {
			result = CELL_BAD_FORM;
		}
		if (n > CELL_CAN_SIZE(l)) {
			n += CELL_CAN_CHECK;
		}
		l->total = (uint16_t)n;
	}
	n -= l->done; /* what is missing */
	i = (n < CELL_CAN_SIZE(l)) ? n : CELL_CAN_SIZE(l);
	if ((result != CELL_MORE) || (f->length != cell_can_length(i))) {
		result = CELL_BAD_FORM;
	} else if ((i == n) && (cell_can_busy(c) != 0u)) {
		l->gap = CELL_CAN_HELD;
		if (l->done == 0u) {
			l->total = 0u;
		}
	} else {
		n -= i;
		while (i > 0u) {
			i--;
			c->in[l->done + i] = f->data[i];
		}
		l->done = (uint16_t)(l->total - n);
		if (n == 0u) {
			result = cell_can_finish(c, call);
			l->total = 0u;
		}
	}
	return result;
}

/* ---- the link ---- */

/* cell_can_drop ends the link; the next one has another session. */
CELL_API void cell_can_drop(cell_can *c) {
	c->link = (cell_can_link){0};
	c->peer = CELL_CAN_NOBODY;
	c->session++;
	if (c->session == 0u) {
		c->session = 1u;
	}
}

/* cell_can_tell writes one control frame of two words; 0 if the controller has
 * no room. */
CELL_API uint8_t cell_can_tell(const cell_can *c, uint32_t to, uint32_t detail, uint32_t a, uint32_t b) {
	cell_can_frame f;

	f.id = (6u << 26) | (to << 16) | ((uint32_t)c->node << 9) | detail;
	f.fd = ((c->link.open != 0u) && (CELL_CAN_SIZE(&c->link) > 8u)) ? 1u : 0u;
	f.length = 8u;
	cell_put32(f.data, a);
	cell_put32(&f.data[4], b);
	return c->write(c->port, &f);
}

/* cell_can_tell_due sends the first control frame that is due, of which there is
 * one; 0 if there is no room. */
CELL_API uint8_t cell_can_tell_due(cell_can *c) {
	cell_can_link *const l = &c->link;
	uint32_t op = CELL_CAN_HELLO;
	uint32_t detail = 0u;
	uint32_t a;
	uint32_t b = l->peer_session | ((uint32_t)c->session << 16);
	uint8_t told;

	while (((l->due >> op) & 1u) == 0u) {
		op++;
	}
	if (op == CELL_CAN_HELLO) {
		a = (CELL_CAN_VERSION << 4) | ((CELL_CAN_DATA > 8u) ? CELL_CAN_HELLO_FD : 0u) | ((l->open == 0u) ? CELL_CAN_HELLO_ASKS : 0u) |
		    (CELL_CAN_WINDOW << 8) | ((uint32_t)c->limit << 16);
		b = c->session | (c->count << 16) | (CELL_CAN_BITS << 24);
	} else if (op == CELL_CAN_ROUTE) {
		detail = l->route;
		a = (uint32_t)c->methods[detail].fingerprint;
		b = (uint32_t)(c->methods[detail].fingerprint >> 32);
	} else if (op == CELL_CAN_FLOW) {
		a = l->expected | ((uint32_t)(l->expected + CELL_CAN_WINDOW) << 16);
		b = l->peer_session | ((l->gap != 0u) ? (1u << 16) : 0u) | ((uint32_t)l->round << 16) | ((uint32_t)(l->check ^ (l->check >> 8)) << 24);
	} else {
		a = l->back; /* resume; or ready, before there was any */
	}
	told = cell_can_tell(c, c->peer, (op << 6) | detail, a, b);
	if (told != 0u) {
		if ((op == CELL_CAN_ROUTE) && ((detail + 1u) < c->count)) {
			l->route++; /* and the next */
		} else {
			l->due &= (uint8_t)~CELL_CAN_DUE(op);
		}
	}
	return told;
}

/* cell_can_pump sends what is due, as far as the controller and the host have
 * room. */
CELL_API void cell_can_pump(cell_can *c) {
	cell_can_link *const l = &c->link;
	cell_can_frame f;
	uint32_t more = 1u;

	while (more != 0u) {
		if (l->due != 0u) {
			more = cell_can_tell_due(c);
		} else if ((cell_can_busy(c) != 0u) && ((l->back & 1u) == 0u) && (l->sent != l->limit) &&
		           ((l->out_done != 0u) || ((uint16_t)(l->sent - l->taken) < CELL_CAN_DISTINCT))) {
			const uint32_t done = cell_can_cut(l, &f);

			more = c->write(c->port, &f);
			if (more != 0u) {
				l->out_done = (uint16_t)done;
				l->sent++;
			}
		} else if ((l->gap == CELL_CAN_HELD) && (cell_can_busy(c) == 0u)) {
			l->gap = CELL_CAN_LOST;
			l->due = CELL_CAN_DUE(CELL_CAN_FLOW);
		} else {
			more = 0u;
		}
	}
}

/* cell_can_hello takes a hello. */
CELL_API void cell_can_hello(cell_can *c, const cell_can_frame *f, uint32_t from, uint32_t session) {
	cell_can_link *const l = &c->link;

	if ((f->data[0] >> 4) != CELL_CAN_VERSION) {
		if (c->peer == CELL_CAN_NOBODY) {
			l->due = CELL_CAN_DUE(CELL_CAN_HELLO); /* to everyone, so that it learns of this one */
		}
	} else if ((c->peer != CELL_CAN_NOBODY) && (from != c->peer)) {
		/* One host at a time; the other asks again. */
	} else if ((c->peer == CELL_CAN_NOBODY) || (session != l->peer_session)) {
		cell_can_drop(c);
		c->peer = (uint8_t)from;
		l->peer_session = (uint16_t)session;
		l->size = ((f->data[0] & CELL_CAN_HELLO_FD) != 0u) ? (uint8_t)CELL_CAN_DATA : 8u;
		l->mask = (uint8_t)(CELL_CAN_PLACES - 1u) & (uint8_t)((1u << (f->data[7] & 7u)) - 1u);
		l->check = 0xFFFFu;
		l->limit = f->data[1];
		l->due = CELL_CAN_GREETING;
	} else if ((f->data[0] & CELL_CAN_HELLO_ASKS) != 0u) {
		l->route = 0u;
		l->due |= CELL_CAN_GREETING;
	} else {
		/* known */
	}
}

/* cell_can_flow does what follows from the host's word on what it has taken. */
CELL_API void cell_can_flow(cell_can *c, uint32_t round) {
	cell_can_link *const l = &c->link;
	const uint32_t held = l->back & 1u;
	const uint32_t away = (uint16_t)(l->sent - l->taken);
	uint32_t done;

	if ((round ^ l->back) > 1u) {
		/* of before the last resume, which may be lost */
		l->due |= (uint8_t)(held << CELL_CAN_RESUME);
	} else if (((round & 1u) != 0u) || ((held == 0u) && (l->said == l->sent) && (away != 0u))) {
		/* The host lacks frames, or has had time to say that it took the last ones. */
		l->back = (uint8_t)((l->back + 2u) | 1u);
		l->due |= CELL_CAN_DUE(CELL_CAN_RESUME);
	} else {
		l->back &= 0xFEu;
		if ((held != 0u) && (away != 0u)) {
			/* All frames but the last are full. */
			done = ((l->out_done + CELL_CAN_SIZE(l) - 1u) & ~(CELL_CAN_SIZE(l) - 1u)) - (away * CELL_CAN_SIZE(l));
			l->out_done = (uint16_t)done;
			l->sent = l->taken;
			if (done >= l->out_total) {
				cell_can_drop(c); /* they were of a vesicle before. The host learns of it when it speaks next */
			}
		}
		l->said = l->sent;
	}
}

/* cell_can_control takes a control frame. */
CELL_API void cell_can_control(cell_can *c, const cell_can_frame *f, uint32_t from) {
	cell_can_link *const l = &c->link;
	const uint32_t op = (f->id >> 6) & 7u;
	const uint32_t first = cell_get32(f->data);
	const uint32_t second = cell_get32(&f->data[4]);
	const uint32_t mine = ((from == c->peer) && ((uint16_t)second == c->session)) ? 1u : 0u;

	if (op == CELL_CAN_HELLO) {
		cell_can_hello(c, f, from, (uint16_t)second);
	} else if ((mine == 0u) || (op == CELL_CAN_ROUTE)) {
		/* Of a link that isn't there: say so. */
		if (op == CELL_CAN_FLOW) {
			(void)cell_can_tell(c, from, CELL_CAN_BYE << 6, CELL_CAN_BYE_UNKNOWN << 16, second << 16);
		}
	} else if (op == CELL_CAN_FLOW) {
		l->open = 1u; /* a host sends flow when it has our hello, so ready need not be read */
		l->taken = (uint16_t)first;
		l->limit = (uint16_t)(first >> 16);
		cell_can_flow(c, f->data[6]);
	} else if (op == CELL_CAN_BYE) {
		cell_can_drop(c);
	} else if (op == CELL_CAN_RESUME) {
		l->round = f->data[0];
		l->gap = 0u;
		l->due |= CELL_CAN_DUE(CELL_CAN_FLOW);
	} else {
		/* unknown */
	}
}

/* cell_can_payload is where the payload of the next cell_can_send goes, which
 * takes up to the limit; NULL if nothing can be sent now. What was sent before can't
 * be sent again then. */
CELL_API uint8_t *cell_can_payload(cell_can *c) {
	uint8_t *payload = NULL;

	if ((c->link.open != 0u) && (cell_can_busy(c) == 0u)) {
		c->link.out_total = 0u; /* what was there can't be sent again */
		c->link.out_done = 0u;
		payload = &c->out[CELL_CAN_PREFIX];
	}
	return payload;
}

/* cell_can_serve hands a vesicle to its handler and prepares what that answers. */
CELL_API void cell_can_serve(cell_can *c, cell_call *call) {
	cell_header *const h = &call->header;
	const uint32_t method = c->link.method;
	uint8_t status = CELL_STATUS_UNIMPLEMENTED;

	call->node = NULL;
	call->reply = cell_can_payload(c);
	call->replied = 0u;
	if ((h->flags & CELL_FLAG_DEADLINE) != 0u) {
		call->request += CELL_DEADLINE_SIZE;
		h->length -= CELL_DEADLINE_SIZE;
	}
	if ((h->flags & CELL_FLAG_FRAGMENT) != 0u) {
		status = CELL_STATUS_TOO_LARGE; /* nothing here puts pieces together */
	} else if ((method < c->count) && (((c->methods[method].kinds >> h->kind) & 1u) != 0u)) {
		status = c->methods[method].handler(call);
	} else {
		/* not here */
	}
	if ((h->kind == CELL_REQUEST) && (status != CELL_STATUS_LATER)) {
		h->kind = CELL_REPLY;
		if (status != CELL_STATUS_OK) {
			h->kind = CELL_ERROR;
			call->replied = 8u;
			cell_put(call->reply, status, 8u);
		}
		h->flags &= CELL_FLAG_PRIORITY;
		h->hops = CELL_HOPS;
		h->length = call->replied;
		cell_can_begin(c, h, method);
	}
}

/* cell_can_data takes a data frame of the host. */
CELL_API void cell_can_data(cell_can *c, const cell_can_frame *f) {
	cell_can_link *const l = &c->link;
	uint32_t other = f->id ^ l->expected; /* in bits of the number, if it is another one */
	cell_call call;
	cell_result result;

	if (((f->id >> 23) & 7u) == CELL_CAN_NEXT) {
		other &= 0x1FFu;
	} else {
		other = (other & 7u) | ((l->expected ^ (f->data[0] >> 2)) & 8u);
	}
	if (other != 0u) {
		l->gap = CELL_CAN_LOST;
		l->due |= CELL_CAN_DUE(CELL_CAN_FLOW);
	} else {
		result = cell_can_join(c, f, &call);
		if (result > CELL_MORE) {
			cell_can_drop(c); /* the host learns of it when it speaks next */
		} else if (l->gap == 0u) {
			l->check = (uint16_t)cell_can_check(l->check, f->id, f->data, f->length);
			l->expected++;
			if ((l->expected & (CELL_CAN_OFTEN - 1u)) == 0u) {
				l->due |= CELL_CAN_DUE(CELL_CAN_FLOW);
			}
			if (result == CELL_OK) {
				cell_can_serve(c, &call);
			}
		} else {
			/* later */
		}
	}
}

/* cell_can_take takes a frame from the bus and does what follows from it. now is
 * a clock in milliseconds, which may wrap around. */
CELL_API void cell_can_take(cell_can *c, const cell_can_frame *f, uint32_t now) {
	const uint32_t class_ = (f->id >> 23) & 7u;
	const uint32_t from = (f->id >> 9) & 127u;

	if ((((f->id >> 16) & 127u) == c->node) && (f->length <= CELL_CAN_DATA)) {
		if (class_ == CELL_CAN_CONTROL) {
			if (f->length == 8u) {
				cell_can_control(c, f, from);
			}
		} else if ((c->link.open != 0u) && (from == c->peer) && (c->link.gap == 0u)) {
			cell_can_data(c, f);
		} else {
			/* of a link that isn't there, or not now */
		}
		if (from == c->peer) {
			c->heard = now;
		}
		cell_can_pump(c);
	}
}

/* cell_can_poll does what is due by time; call it often. */
CELL_API void cell_can_poll(cell_can *c, uint32_t now) {
	if ((now - c->beat) > CELL_CAN_BEAT) {
		c->beat = now;
		if ((now - c->heard) > CELL_CAN_DEAD) {
			cell_can_drop(c);
		}
		if (c->link.open != 0u) {
			c->link.due |= CELL_CAN_DUE(CELL_CAN_FLOW);
		}
	}
	cell_can_pump(c);
}

/* cell_can_send sends a vesicle of the method with this index, such as an event or
 * an item of a stream, whose payload of h->length bytes stands at
 * cell_can_payload. Call it only if that was not NULL, and not in a handler, whose
 * reply has the same place. */
CELL_API void cell_can_send(cell_can *c, const cell_header *h, uint32_t method) {
	cell_can_begin(c, h, method);
	cell_can_pump(c);
}

/* cell_can_init prepares a node. Both buffers have CELL_CAN_BUFFER(limit) bytes,
 * limit at least 20 and at most 16,366, and no payload above what the host takes is
 * sent (Config.MaxPayload, 4,096 unless set). There are 1 to 62 methods. session is
 * another number after each start. */
CELL_API void cell_can_init(cell_can *c, uint8_t node, uint8_t *in, uint8_t *out, uint16_t limit, const cell_method *methods,
                            uint8_t count, cell_can_write write, void *port, uint16_t session) {
	c->node = node;
	c->in = in;
	c->out = out;
	c->limit = limit;
	c->methods = methods;
	c->count = count;
	c->write = write;
	c->port = port;
	c->session = session;
	c->heard = 0u;
	c->beat = 0u;
	cell_can_drop(c);
}

#endif /* CELL_CAN_H */
