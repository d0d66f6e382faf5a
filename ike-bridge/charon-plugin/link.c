/*
 * Requests live in one list in the order charon made them, whether sent or not. A new connection sends the
 * hello, then the whole list again under the same request ids: what nobody waits for any more is older than
 * what somebody waits for, so deletes that were left over go first and the order never changes.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "link.h"

#include <collections/blocking_queue.h>
#include <collections/linked_list.h>
#include <threading/condvar.h>
#include <threading/mutex.h>
#include <threading/thread.h>

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define QUERY_MS 200
#define CHANGE_MS 2000
#define HELLO_MS 1000
#define RETRY_WANTED_MS 20
#define RETRY_IDLE_MS 500
#define MAX_REQUESTS 65536 /* deletes that a long absence of the bridge may leave over */

typedef struct {
	struct espalier_header *message; /* the caller's own while it waits, then a copy */
	struct espalier_reply *reply; /* NULL once nobody waits */
	bool sent; /* on this connection */
	bool done;
} request_t;

struct link_t {
	char *path;
	int fd;
	int wake; /* eventfd: something was queued, or stop */
	volatile bool stop;
	bool mourned; /* the absence of the bridge was logged */
	linked_list_t *requests; /* this and the next five under the mutex */
	uint64_t last_id;
	uint64_t down_since_ms; /* 0 while connected */
	u_int waiting;
	bool unsent;
	mutex_t *mutex;
	condvar_t *answered;
	blocking_queue_t *events;
	thread_t *io_thread;
	thread_t *event_thread;
};

static uint64_t now_ms(void)
{
	timeval_t now;

	time_monotonic(&now);
	return now.tv_sec * 1000ULL + now.tv_usec / 1000;
}

static void stamp(link_t *this, struct espalier_header *header, uint16_t type, uint32_t octets)
{
	*header = (struct espalier_header){ .magic = ESPALIER_MAGIC, .version = ESPALIER_VERSION,
		.type = type, .length = octets, .request_id = ++this->last_id };
}

/** Waits until `request` is answered, or leaves or takes it back. Called and left with the mutex locked. */
static bool await(link_t *this, request_t *request, uint64_t deadline, bool keep)
{
	timeval_t until = { .tv_sec = deadline / 1000, .tv_usec = deadline % 1000 * 1000 };
	uint32_t octets = request->message->length;
	bool late = FALSE, done;

	this->waiting++;
	while (!request->done && !late) {
		late = this->answered->timed_wait_abs(this->answered, this->mutex, until);
	}
	this->waiting--;
	done = request->done;
	if (!done && keep && this->requests->get_count(this->requests) < MAX_REQUESTS) {
		request->reply = NULL;
		request->message = memcpy(malloc(octets), request->message, octets);
	} else {
		this->requests->remove(this->requests, request, NULL);
		free(request);
	}
	return done;
}

bool link_call(link_t *this, uint16_t type, void *message, uint32_t octets, struct espalier_reply *reply)
{
	bool query = type == ESPALIER_QUERY_SA || type == ESPALIER_QUERY_POLICY;
	bool keep = type == ESPALIER_DEL_SA || type == ESPALIER_DEL_POLICY;
	bool old = thread_cancelability(FALSE), done;
	uint64_t deadline = now_ms() + (query ? QUERY_MS : CHANGE_MS);
	request_t *request;

	INIT(request, .message = message, .reply = reply);
	this->mutex->lock(this->mutex);
	stamp(this, message, type, octets);
	if (keep && this->down_since_ms) { /* it is kept anyway: a long absence does not hold charon up */
		deadline = min(deadline, this->down_since_ms + CHANGE_MS);
	}
	this->requests->insert_last(this->requests, request);
	this->unsent = TRUE;
	eventfd_write(this->wake, 1);
	done = await(this, request, deadline, keep);
	this->mutex->unlock(this->mutex);
	if (!done) {
		DBG1(DBG_KNL, "espalier: the bridge at %s did not answer request type %u in time%s", this->path, type,
			 keep ? ", kept until it is back" : "");
	}
	thread_cancelability(old);
	return done;
}

static void hang_up(link_t *this, const char *why)
{
	enumerator_t *all;
	request_t *request;

	if (!this->mourned) {
		DBG1(DBG_KNL, "espalier: no bridge at %s: %s", this->path, why);
		this->mourned = TRUE;
	}
	this->mutex->lock(this->mutex);
	this->down_since_ms = this->down_since_ms ?: now_ms();
	all = this->requests->create_enumerator(this->requests);
	while (all->enumerate(all, &request)) {
		request->message->flags |= request->sent ? ESPALIER_RESENT : 0;
		request->sent = FALSE;
	}
	all->destroy(all);
	this->unsent = TRUE;
	this->mutex->unlock(this->mutex);
	if (this->fd >= 0) {
		close(this->fd);
		this->fd = -1;
	}
}

/** Reads field 22 of /proc/self/stat; the second field may hold spaces and parentheses. */
static uint64_t start_ticks(void)
{
	char stat[1024] = "", *field = NULL;
	FILE *file = fopen("/proc/self/stat", "re");

	if (file) {
		field = fgets(stat, sizeof(stat), file) ? strrchr(stat, ')') : NULL;
		fclose(file);
	}
	for (int i = 2; field && i < 22; i++) {
		field = strchr(field + 1, ' ');
	}
	return field ? strtoull(field, NULL, 10) : 0;
}

/** Says hello and waits for the answer: a bridge of another version gets nothing else. */
static const char *greet(link_t *this, struct espalier_reply *reply)
{
	struct espalier_hello hello = { .pid = getpid(), .start_ticks = start_ticks() };
	struct pollfd ready = { .fd = this->fd, .events = POLLIN };

	strncpy(hello.daemon, lib->ns, sizeof(hello.daemon) - 1);
	strncpy(hello.strongswan, STRONGSWAN_VERSION, sizeof(hello.strongswan) - 1);
	strncpy(hello.plugin, ESPALIER_PLUGIN_VERSION, sizeof(hello.plugin) - 1);
	this->mutex->lock(this->mutex);
	stamp(this, &hello.header, ESPALIER_HELLO, sizeof(hello));
	hello.pending_deletes = this->requests->get_count(this->requests) - this->waiting;
	this->mutex->unlock(this->mutex);
	if (send(this->fd, &hello, sizeof(hello), MSG_NOSIGNAL) < 0 || poll(&ready, 1, HELLO_MS) <= 0 ||
		recv(this->fd, reply, sizeof(*reply), 0) < (ssize_t)sizeof(*reply) ||
		reply->header.magic != ESPALIER_MAGIC || reply->header.type != ESPALIER_REPLY) {
		return "it does not answer the hello";
	}
	reply->detail[sizeof(reply->detail) - 1] = '\0';
	if (reply->header.version != ESPALIER_VERSION || reply->status != ESPALIER_SUCCESS) {
		return reply->detail[0] ? reply->detail : "it refuses the hello";
	}
	return NULL;
}

static bool dial(link_t *this)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	struct espalier_reply reply = {};
	const char *why;

	strncpy(address.sun_path, this->path, sizeof(address.sun_path) - 1);
	this->fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (this->fd < 0 || connect(this->fd, (struct sockaddr*)&address, sizeof(address)) < 0) {
		why = strerror(errno);
	} else {
		why = greet(this, &reply);
	}
	if (why) {
		hang_up(this, why);
		return FALSE;
	}
	DBG1(DBG_KNL, "espalier: connected to the bridge at %s: %s", this->path, reply.detail);
	this->mourned = FALSE;
	this->mutex->lock(this->mutex);
	this->down_since_ms = 0;
	this->mutex->unlock(this->mutex);
	return TRUE;
}

/** Sends what this connection has not seen yet, in order. Returns TRUE if the socket is full. */
static bool send_queued(link_t *this)
{
	enumerator_t *all;
	request_t *request;
	bool full = FALSE;

	this->mutex->lock(this->mutex);
	all = this->requests->create_enumerator(this->requests);
	while (this->unsent && !full && all->enumerate(all, &request)) {
		if (!request->sent) {
			request->sent = send(this->fd, request->message, request->message->length, MSG_NOSIGNAL) > 0;
			full = !request->sent;
		}
	}
	all->destroy(all);
	this->unsent = full;
	this->mutex->unlock(this->mutex);
	return full;
}

static void dispatch(link_t *this, const struct espalier_reply *reply)
{
	enumerator_t *all;
	request_t *request;

	this->mutex->lock(this->mutex);
	all = this->requests->create_enumerator(this->requests);
	while (all->enumerate(all, &request)) {
		if (request->message->request_id == reply->header.request_id) {
			if (request->reply) {
				*request->reply = *reply;
				request->done = TRUE;
				this->answered->broadcast(this->answered);
			} else {
				this->requests->remove_at(this->requests, all);
				free(request->message);
				free(request);
			}
			break;
		}
	}
	all->destroy(all);
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

	if (got <= 0) {
		return got < 0 && (errno == EAGAIN || errno == EINTR);
	}
	if (got < (ssize_t)sizeof(message.header) || message.header.magic != ESPALIER_MAGIC ||
		message.header.version != ESPALIER_VERSION || message.header.length > (size_t)got) {
		return FALSE;
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
		struct pollfd ready[] = {
			{ .fd = this->wake, .events = POLLIN },
			{ .fd = this->fd, .events = POLLIN | (up && send_queued(this) ? POLLOUT : 0) },
		};

		poll(ready, countof(ready), up ? -1 : this->waiting ? RETRY_WANTED_MS : RETRY_IDLE_MS);
		eventfd_read(this->wake, &woken);
		if ((ready[1].revents & ~POLLOUT) && !receive(this)) {
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
		.requests = linked_list_create(),
		.mutex = mutex_create(MUTEX_TYPE_DEFAULT),
		.answered = condvar_create(CONDVAR_TYPE_DEFAULT),
		.events = blocking_queue_create(),
	);
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
	this->stop = TRUE;
	eventfd_write(this->wake, 1);
	this->io_thread->join(this->io_thread);
	this->events->enqueue(this->events, NULL);
	this->event_thread->join(this->event_thread);
	if (this->fd >= 0) {
		close(this->fd);
	}
	close(this->wake);
	this->events->destroy_function(this->events, free);
	this->requests->destroy_function(this->requests, free);
	this->answered->destroy(this->answered);
	this->mutex->destroy(this->mutex);
	free(this->path);
	free(this);
}
