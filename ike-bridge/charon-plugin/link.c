/*
 * Requests live in one list in the order charon made them, sent or not. A new connection sends the hello, then
 * the whole list again under the same request ids. What nobody waits for any more is older than what somebody
 * waits for, so deletes that were left over go first and the order never changes.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "link.h"

#include <collections/blocking_queue.h>
#include <threading/condvar.h>
#include <threading/mutex.h>
#include <threading/thread.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define QUERY_MS 200
#define CHANGE_MS 2000
#define HELLO_MS 1000
#define RETRY_WANTED_MS 20
#define RETRY_IDLE_MS 500
#define MAX_LEFT_OVER 65536 /* deletes that a long absence of the bridge may leave */

static const char *names[] = { "", "hello", "get_spi", "add_sa", "update_sa", "query_sa", "del_sa", "flush_sas",
	"add_policy", "query_policy", "del_policy", "flush_policies" };

typedef struct request_t {
	TAILQ_ENTRY(request_t) next;
	struct espalier_header *message; /* the caller's own while it waits, then a copy */
	struct espalier_reply *reply; /* NULL once nobody waits */
	bool sent; /* on this connection */
	bool done;
} request_t;

struct link_t {
	char *path;
	int fd; /* -1 while there is no bridge; like `mourned` the io thread's own */
	int wake; /* eventfd: something was queued, or stop */
	bool mourned; /* the absence of the bridge was logged */
	_Atomic bool stop;
	mutex_t *mutex; /* guards the next six */
	TAILQ_HEAD(, request_t) requests;
	_Atomic u_int waiting; /* also read without it */
	u_int left_over;
	uint64_t last_id;
	uint64_t down_since_ms; /* 0 while connected */
	condvar_t *answered;
	blocking_queue_t *events;
	thread_t *io_thread, *event_thread;
};

static uint64_t now_ms(void)
{
	timeval_t now;

	time_monotonic(&now);
	return now.tv_sec * 1000ULL + now.tv_usec / 1000;
}

static void stamp(link_t *this, struct espalier_header *header, uint16_t type, uint32_t octets)
{
	*header = (struct espalier_header){ .magic = ESPALIER_MAGIC, .version = ESPALIER_VERSION, .type = type,
		.length = octets, .request_id = ++this->last_id };
}

bool link_call(link_t *this, uint16_t type, void *message, uint32_t octets, struct espalier_reply *reply)
{
	bool keep = type == ESPALIER_DEL_SA || type == ESPALIER_DEL_POLICY;
	bool query = type == ESPALIER_QUERY_SA || type == ESPALIER_QUERY_POLICY;
	bool old = thread_cancelability(FALSE), late = FALSE, done;
	uint64_t deadline = now_ms() + (query ? QUERY_MS : CHANGE_MS);
	request_t *request;

	INIT(request, .message = message, .reply = reply);
	this->mutex->lock(this->mutex);
	stamp(this, message, type, octets);
	if (keep && this->down_since_ms) { /* it is kept anyway: a long absence does not hold charon up */
		deadline = min(deadline, this->down_since_ms + CHANGE_MS);
	}
	TAILQ_INSERT_TAIL(&this->requests, request, next);
	this->waiting++;
	eventfd_write(this->wake, 1);
	while (!request->done && !late) {
		late = this->answered->timed_wait_abs(this->answered, this->mutex,
					(timeval_t){ .tv_sec = deadline / 1000, .tv_usec = deadline % 1000 * 1000 });
	}
	this->waiting--;
	done = request->done;
	keep = keep && !done && this->left_over < MAX_LEFT_OVER;
	if (keep) {
		this->left_over++;
		request->reply = NULL;
		request->message = memcpy(malloc(octets), message, octets);
	} else {
		TAILQ_REMOVE(&this->requests, request, next);
		free(request);
	}
	this->mutex->unlock(this->mutex);
	if (keep) {
		DBG2(DBG_KNL, "espalier: %s is kept until the bridge at %s is back", names[type], this->path);
	} else if (!done) {
		DBG1(DBG_KNL, "espalier: the bridge at %s did not answer %s in time", this->path, names[type]);
	}
	thread_cancelability(old);
	return done;
}

/** Reads field 22 of /proc/self/stat; the second field may hold spaces and parentheses. */
static uint64_t start_ticks(void)
{
	int fd = open("/proc/self/stat", O_RDONLY | O_CLOEXEC);
	char stat[1024] = "", *field = fd >= 0 && read(fd, stat, sizeof(stat) - 1) > 0 ? strrchr(stat, ')') : NULL;

	close(fd);
	for (int at = 2; field && at < 22; at++) {
		field = strchr(field + 1, ' ');
	}
	return field ? strtoull(field, NULL, 10) : 0;
}

static bool hang_up(link_t *this, const char *why)
{
	if (!this->mourned) {
		DBG1(DBG_KNL, "espalier: no bridge at %s: %s", this->path, why);
	}
	this->mourned = TRUE;
	this->mutex->lock(this->mutex);
	this->down_since_ms = this->down_since_ms ?: now_ms();
	this->mutex->unlock(this->mutex);
	close(this->fd);
	this->fd = -1;
	return FALSE;
}

/** Connects, says hello and waits for its answer: a bridge of another version gets nothing else. */
static bool dial(link_t *this)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	struct espalier_hello hello = { .pid = getpid(), .start_ticks = start_ticks() };
	struct espalier_reply reply = {};
	struct pollfd ready = { .events = POLLIN };
	request_t *request;

	strncpy(address.sun_path, this->path, sizeof(address.sun_path) - 1);
	this->fd = ready.fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (connect(this->fd, (struct sockaddr*)&address, sizeof(address)) < 0) {
		return hang_up(this, strerror(errno));
	}
	strncpy(hello.daemon, lib->ns, sizeof(hello.daemon) - 1);
	strncpy(hello.strongswan, STRONGSWAN_VERSION, sizeof(hello.strongswan) - 1);
	strncpy(hello.plugin, ESPALIER_PLUGIN_VERSION, sizeof(hello.plugin) - 1);
	this->mutex->lock(this->mutex);
	stamp(this, &hello.header, ESPALIER_HELLO, sizeof(hello));
	hello.pending_deletes = this->left_over;
	this->mutex->unlock(this->mutex);
	if (send(this->fd, &hello, sizeof(hello), MSG_NOSIGNAL) < 0 || poll(&ready, 1, HELLO_MS) <= 0 ||
		recv(this->fd, &reply, sizeof(reply), 0) < (ssize_t)sizeof(reply) ||
		reply.header.magic != ESPALIER_MAGIC || reply.header.type != ESPALIER_REPLY) {
		return hang_up(this, "it does not answer the hello");
	}
	reply.detail[sizeof(reply.detail) - 1] = '\0';
	if (reply.header.version != ESPALIER_VERSION || reply.status != ESPALIER_SUCCESS) {
		return hang_up(this, reply.detail[0] ? reply.detail : "it refuses the hello");
	}
	DBG1(DBG_KNL, "espalier: connected to the bridge at %s%s%s", this->path, reply.detail[0] ? ": " : "",
		 reply.detail);
	this->mourned = FALSE;
	this->mutex->lock(this->mutex);
	this->down_since_ms = 0;
	TAILQ_FOREACH(request, &this->requests, next) {
		request->message->flags |= request->sent ? ESPALIER_RESENT : 0;
		request->sent = FALSE;
	}
	this->mutex->unlock(this->mutex);
	return TRUE;
}

/** Sends in order what this connection has not seen yet. If the socket is full, an answer wakes us again. */
static void send_queued(link_t *this)
{
	request_t *request;

	this->mutex->lock(this->mutex);
	TAILQ_FOREACH(request, &this->requests, next) {
		if (!request->sent && send(this->fd, request->message, request->message->length, MSG_NOSIGNAL) < 0) {
			break;
		}
		request->sent = TRUE;
	}
	this->mutex->unlock(this->mutex);
}

static void dispatch(link_t *this, const struct espalier_reply *reply)
{
	request_t *request;

	this->mutex->lock(this->mutex);
	TAILQ_FOREACH(request, &this->requests, next) {
		if (request->message->request_id == reply->header.request_id) {
			break;
		}
	}
	if (request && request->reply) {
		*request->reply = *reply;
		request->done = TRUE;
		this->answered->broadcast(this->answered);
	} else if (request) {
		this->left_over--;
		TAILQ_REMOVE(&this->requests, request, next);
		free(request->message);
		free(request);
	}
	this->mutex->unlock(this->mutex);
}

/** Takes one datagram. Returns FALSE when the connection is of no more use. */
static bool receive(link_t *this)
{
	union {
		struct espalier_header header;
		struct espalier_reply reply;
		uint8_t octets[ESPALIER_MAX_OCTETS];
	} message = {};
	ssize_t got = recv(this->fd, &message, sizeof(message), 0);

	if (got < (ssize_t)sizeof(message.header) || message.header.magic != ESPALIER_MAGIC ||
		message.header.version != ESPALIER_VERSION || message.header.length > (size_t)got) {
		return got < 0 && (errno == EAGAIN || errno == EINTR);
	}
	if (message.header.type != ESPALIER_REPLY) {
		this->events->enqueue(this->events, memcpy(malloc(sizeof(message)), &message, sizeof(message)));
	} else if (message.header.length >= sizeof(message.reply)) {
		dispatch(this, &message.reply);
	}
	return TRUE;
}

static void *io_run(link_t *this)
{
	eventfd_t woken;

	while (!this->stop) {
		bool up = this->fd >= 0 || dial(this);
		struct pollfd ready[] = { { .fd = this->wake, .events = POLLIN }, { .fd = this->fd, .events = POLLIN } };

		if (up) {
			send_queued(this);
		}
		poll(ready, countof(ready), up ? -1 : this->waiting ? RETRY_WANTED_MS : RETRY_IDLE_MS);
		eventfd_read(this->wake, &woken);
		if (ready[1].revents && !receive(this)) {
			hang_up(this, "it closed the connection or sent no message of ours");
		}
	}
	return NULL;
}

static void *event_run(link_t *this)
{
	struct espalier_header *event;

	while ((event = this->events->dequeue(this->events))) {
		event_raise(event);
		free(event);
	}
	return NULL;
}

link_t *link_create(const char *path)
{
	sigset_t all, old;
	link_t *this;

	INIT(this,
		.path = strdup(path),
		.fd = -1,
		.wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
		.down_since_ms = now_ms(),
		.mutex = mutex_create(MUTEX_TYPE_DEFAULT),
		.answered = condvar_create(CONDVAR_TYPE_DEFAULT),
		.events = blocking_queue_create(),
	);
	TAILQ_INIT(&this->requests);
	/* charon's main thread waits for its signals and blocks them only after the plugins are loaded */
	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, &old);
	this->io_thread = thread_create((thread_main_t)io_run, this);
	this->event_thread = thread_create((thread_main_t)event_run, this);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return this;
}

void link_destroy(link_t *this)
{
	request_t *request;

	this->stop = TRUE;
	eventfd_write(this->wake, 1);
	this->io_thread->join(this->io_thread);
	this->events->enqueue(this->events, NULL);
	this->event_thread->join(this->event_thread);
	while ((request = TAILQ_FIRST(&this->requests))) {
		TAILQ_REMOVE(&this->requests, request, next);
		free(request->message);
		free(request);
	}
	close(this->fd);
	close(this->wake);
	this->events->destroy(this->events);
	this->answered->destroy(this->answered);
	this->mutex->destroy(this->mutex);
	free(this->path);
	free(this);
}
