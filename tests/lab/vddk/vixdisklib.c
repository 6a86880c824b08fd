/* A stand-in for VMware's libvixDiskLib, which cannot be had: it has the functions that nbdkit's vddk plugin calls, and
 * refuses what the real library refuses. It knows no password and no disk itself: `answer.py` asks the lab's vCenter.
 *
 * LIBDIR/lab.conf names, one a line: the Python interpreter, answer.py, the datastores' folder, the log of calls.
 * A file LIBDIR/lose-session has one session lost at its next read, and is removed.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

typedef uint64_t VixError;
typedef void LogFunction(const char *format, va_list arguments);
typedef void (*Completion)(void *data, VixError result);

enum {
  OK = 0, FAIL = 1, OUT_OF_MEMORY = 2, INVALID_ARGUMENT = 3, FILE_NOT_FOUND = 4, BUSY = 5, NOT_SUPPORTED = 6,
  FILE_ERROR = 7, ACCESS_RIGHTS = 13, NETWORK_REFUSED = 14009, CANNOT_CONNECT = 18000, PERMISSIONS = 3014, ASYNC = 25000
};
enum { SECTOR = 512, LARGEST_SECTORS = (2 << 20) / SECTOR, FLAG_READ_ONLY = 4, KNOWN_FLAGS = 1 | 2 | 4 | 16 | 32 | 64 };

/* The library's own structures, as its programming guide lays them out. */
typedef struct {
  char *vmxSpec, *serverName, *thumbPrint;
  long reserved1;
  int credType;
  union {
    struct { char *userName, *password; } uid;
    struct { char *cookie, *userName, *key; } sessionId;
  } creds;
  uint32_t port, nfcHostPort;
  char *reserved3;
  char reserved4[8];
  void *reserved5;
  struct { char *id, *datastoreMoRef, *ssId; } spec;
  int specType;
} ConnectParams;

typedef struct {
  struct { uint32_t cylinders, heads, sectors; } biosGeo, physGeo;
  uint64_t capacity;
  int adapterType;
  int numLinks;
  char *parentFileNameHint, *uuid;
  uint32_t logicalSectorSize, physicalSectorSize;
} Info;

typedef struct {
  char *server, *user, *password, *thumbprint, *vm, *snapshot;
  uint32_t port;
} Connection;

typedef struct Request {
  uint64_t start, count;
  unsigned char *buffer;
  Completion done;
  void *data;
  struct Request *next;
} Request;

typedef struct {
  int file;
  uint64_t sectors;
  bool lost, closing;
  int pending;
  Request *first, *last;
  pthread_t worker;
  pthread_mutex_t lock;
  pthread_cond_t changed;
} Disk;

static char *config[4];
static char *lose_file;
static LogFunction *warn_function;
static bool initialised;

static void call(LogFunction *function, const char *format, ...)
{
  va_list arguments;
  va_start(arguments, format);
  if (function)
    function(format, arguments);
  va_end(arguments);
}

/* One write per line, so that the lines of several processes do not mix. */
static void record(const char *format, ...)
{
  char line[512];
  va_list arguments;
  va_start(arguments, format);
  int length = vsnprintf(line, sizeof line, format, arguments);
  va_end(arguments);
  int log = open(config[3], O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
  if (log >= 0) {
    if (write(log, line, length) != length)
      abort();
    close(log);
  }
}

VixError VixDiskLib_InitEx(uint32_t major, uint32_t minor, LogFunction *log, LogFunction *warn, LogFunction *panic,
                           const char *libdir, const char *file)
{
  char path[4096], line[4096];
  (void)minor, (void)log, (void)panic, (void)file;
  if (initialised || major < 5 || major > 8 || !libdir)
    return INVALID_ARGUMENT;
  warn_function = warn;
  snprintf(path, sizeof path, "%s/lab.conf", libdir);
  FILE *conf = fopen(path, "re");
  for (int i = 0; conf && i < 4 && fgets(line, sizeof line, conf); i++) {
    line[strcspn(line, "\n")] = 0;
    config[i] = strdup(line);
  }
  if (conf)
    fclose(conf);
  if (!config[3])
    return FAIL;
  if (asprintf(&lose_file, "%s/lose-session", libdir) < 0)
    return OUT_OF_MEMORY;
  initialised = true;
  return OK;
}

void VixDiskLib_Exit(void) { initialised = false; }

const char *VixDiskLib_ListTransportModes(void) { return "file:nbdssl:nbd"; }

char *VixDiskLib_GetErrorText(VixError error, const char *unused)
{
  (void)unused;
  switch (error & 0xffff) {
  case OK: return strdup("The operation was successful");
  case OUT_OF_MEMORY: return strdup("Memory allocation failed. Out of memory");
  case INVALID_ARGUMENT: return strdup("One of the parameters was invalid");
  case FILE_NOT_FOUND: return strdup("A file was not found");
  case BUSY: return strdup("The object is busy");
  case NOT_SUPPORTED: return strdup("The operation is not supported");
  case FILE_ERROR: return strdup("A file access error occurred on the host or guest operating system");
  case ACCESS_RIGHTS: return strdup("You do not have access rights to this file");
  case NETWORK_REFUSED: return strdup("The server refused connection");
  case CANNOT_CONNECT: return strdup("Cannot connect to the host");
  case PERMISSIONS: return strdup("Insufficient permissions in the host operating system");
  default: return strdup("Unknown error");
  }
}

void VixDiskLib_FreeErrorText(char *text) { free(text); }

ConnectParams *VixDiskLib_AllocateConnectParams(void) { return calloc(1, sizeof(ConnectParams)); }

void VixDiskLib_FreeConnectParams(ConnectParams *params) { free(params); }

/* Only transports over the network can be had here: the others need the disk on this very host. */
static bool transports_known(const char *modes)
{
  char copy[256], *rest = copy;
  bool network = !modes;
  snprintf(copy, sizeof copy, "%s", modes ? modes : "");
  for (char *mode; modes && (mode = strsep(&rest, ":"));) {
    if (!strcmp(mode, "nbd") || !strcmp(mode, "nbdssl"))
      network = true;
    else if (strcmp(mode, "file") && strcmp(mode, "san") && strcmp(mode, "hotadd"))
      return false;
  }
  return network;
}

VixError VixDiskLib_ConnectEx(const ConnectParams *params, char read_only, const char *snapshot, const char *modes,
                              void **result)
{
  const char *prefix = "moref=";
  if (!initialised || !params || !result || params->credType != 1 || params->specType != 0)
    return INVALID_ARGUMENT;
  if (!params->serverName || !params->creds.uid.userName || !params->creds.uid.password || !params->thumbPrint)
    return INVALID_ARGUMENT;
  if (!params->vmxSpec || strncmp(params->vmxSpec, prefix, strlen(prefix)))
    return INVALID_ARGUMENT;
  if (!transports_known(modes) || !read_only)
    return NOT_SUPPORTED;
  Connection *made = calloc(1, sizeof *made);
  made->server = strdup(params->serverName);
  made->user = strdup(params->creds.uid.userName);
  made->password = strdup(params->creds.uid.password);
  made->thumbprint = strdup(params->thumbPrint);
  made->vm = strdup(params->vmxSpec + strlen(prefix));
  made->snapshot = strdup(snapshot ? snapshot : "");
  made->port = params->port ? params->port : 443;
  *result = made;
  return OK;
}

VixError VixDiskLib_Disconnect(void *connection)
{
  Connection *made = connection;
  free(made->server), free(made->user), free(made->password), free(made->thumbprint), free(made->vm);
  free(made->snapshot), free(made);
  return OK;
}

/* Ask answer.py: "OK SECTORS FILE", "COPY SECTORS FILE" or "ERROR CODE WORDS". The password goes through the pipe. */
static bool ask(const Connection *to, const char *path, char *answer, size_t room)
{
  int in[2], out[2], status;
  extern char **environ;
  posix_spawn_file_actions_t actions;
  pid_t child;
  char *arguments[] = {config[0], config[1], config[2], NULL};
  if (pipe2(in, O_CLOEXEC) || pipe2(out, O_CLOEXEC))
    return false;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, in[0], 0);
  posix_spawn_file_actions_adddup2(&actions, out[1], 1);
  int failed = posix_spawn(&child, config[0], &actions, NULL, arguments, environ);
  posix_spawn_file_actions_destroy(&actions);
  close(in[0]), close(out[1]);
  if (!failed) {
    dprintf(in[1], "%s\n%u\n%s\n%s\n%s\n%s\n%s\n%s\n", to->server, to->port, to->user, to->password, to->thumbprint,
            to->vm, to->snapshot, path);
    close(in[1]);
    size_t length = 0;
    for (ssize_t got; length + 1 < room && (got = read(out[0], answer + length, room - 1 - length)) > 0;)
      length += got;
    answer[length] = 0;
    answer[strcspn(answer, "\n")] = 0;
    waitpid(child, &status, 0);
  } else
    close(in[1]);
  close(out[0]);
  return !failed && answer[0];
}

static VixError read_now(Disk *disk, uint64_t start, uint64_t count, unsigned char *buffer)
{
  record("read %d %lu %lu\n", getpid(), start, count);
  if (disk->lost)
    return NETWORK_REFUSED;
  if (unlink(lose_file) == 0) {
    disk->lost = true;
    call(warn_function, "[NFC ERROR] NfcNetTcpRead: bRead: -1\n");
    return NETWORK_REFUSED;
  }
  if (start + count > disk->sectors || !count)
    return INVALID_ARGUMENT;
  if (count > LARGEST_SECTORS) {
    call(warn_function, "[NFC ERROR] NfcFssrvr_IO: received NFC error 5 from server: Failed to allocate the requested %lu bytes\n",
         (unsigned long)count * SECTOR);
    return OUT_OF_MEMORY;
  }
  for (uint64_t at = 0; at < count * SECTOR;) {
    ssize_t got = pread(disk->file, buffer + at, count * SECTOR - at, start * SECTOR + at);
    if (got <= 0)
      return FILE_ERROR;
    at += got;
  }
  return OK;
}

static void *work(void *argument)
{
  Disk *disk = argument;
  pthread_mutex_lock(&disk->lock);
  while (!disk->closing) {
    Request *request = disk->first;
    if (!request) {
      pthread_cond_wait(&disk->changed, &disk->lock);
      continue;
    }
    disk->first = request->next;
    pthread_mutex_unlock(&disk->lock);
    request->done(request->data, read_now(disk, request->start, request->count, request->buffer));
    free(request);
    pthread_mutex_lock(&disk->lock);
    disk->pending--;
    pthread_cond_broadcast(&disk->changed);
  }
  pthread_mutex_unlock(&disk->lock);
  return NULL;
}

VixError VixDiskLib_Open(void *connection, const char *path, uint32_t flags, void **result)
{
  char answer[4096], file[4096];
  unsigned long sectors;
  int code, words = 0;
  if (!(flags & FLAG_READ_ONLY) || (flags & ~KNOWN_FLAGS))
    return NOT_SUPPORTED;
  if (!path || path[0] != '[')
    return FILE_NOT_FOUND;
  if (!ask(connection, path, answer, sizeof answer))
    return FAIL;
  if (sscanf(answer, "ERROR %d %n", &code, &words) == 1) {
    if (words && answer[words])
      call(warn_function, "%s\n", answer + words);
    return code;
  }
  bool copy = !strncmp(answer, "COPY ", 5);
  if (sscanf(answer, "%*s %lu %4095[^\n]", &sectors, file) != 2)
    return FAIL;
  Disk *disk = calloc(1, sizeof *disk);
  disk->file = open(file, O_RDONLY | O_CLOEXEC);
  disk->sectors = sectors;
  if (copy)
    unlink(file);
  if (disk->file < 0) {
    free(disk);
    return FILE_NOT_FOUND;
  }
  pthread_mutex_init(&disk->lock, NULL);
  pthread_cond_init(&disk->changed, NULL);
  if (pthread_create(&disk->worker, NULL, work, disk))
    abort();
  record("open %d %s\n", getpid(), path);
  *result = disk;
  return OK;
}

const char *VixDiskLib_GetTransportMode(void *disk)
{
  (void)disk;
  return "nbdssl";
}

VixError VixDiskLib_Wait(void *handle)
{
  Disk *disk = handle;
  pthread_mutex_lock(&disk->lock);
  while (disk->pending)
    pthread_cond_wait(&disk->changed, &disk->lock);
  pthread_mutex_unlock(&disk->lock);
  return OK;
}

VixError VixDiskLib_Close(void *handle)
{
  Disk *disk = handle;
  pthread_mutex_lock(&disk->lock);
  bool busy = disk->pending > 0;
  if (!busy) {
    disk->closing = true;
    pthread_cond_broadcast(&disk->changed);
  }
  pthread_mutex_unlock(&disk->lock);
  if (busy)
    return BUSY;
  pthread_join(disk->worker, NULL);
  record("close %d\n", getpid());
  close(disk->file);
  free(disk);
  return OK;
}

VixError VixDiskLib_GetInfo(void *handle, Info **result)
{
  Info *info = calloc(1, sizeof *info);
  info->capacity = ((Disk *)handle)->sectors;
  info->adapterType = 3;
  info->numLinks = 1;
  info->logicalSectorSize = info->physicalSectorSize = SECTOR;
  *result = info;
  return OK;
}

void VixDiskLib_FreeInfo(Info *info) { free(info); }

VixError VixDiskLib_Read(void *handle, uint64_t start, uint64_t count, unsigned char *buffer)
{
  return read_now(handle, start, count, buffer);
}

VixError VixDiskLib_ReadAsync(void *handle, uint64_t start, uint64_t count, unsigned char *buffer, Completion done,
                              void *data)
{
  Disk *disk = handle;
  Request *request = malloc(sizeof *request);
  *request = (Request){start, count, buffer, done, data, NULL};
  pthread_mutex_lock(&disk->lock);
  if (disk->first)
    disk->last->next = request;
  else
    disk->first = request;
  disk->last = request;
  disk->pending++;
  pthread_cond_broadcast(&disk->changed);
  pthread_mutex_unlock(&disk->lock);
  return ASYNC;
}

/* Everything that writes: these disks are opened for reading only. */
VixError VixDiskLib_Write(void *handle, uint64_t start, uint64_t count, const unsigned char *buffer)
{
  (void)handle, (void)start, (void)count, (void)buffer;
  return NOT_SUPPORTED;
}

VixError VixDiskLib_WriteAsync(void *handle, uint64_t start, uint64_t count, const unsigned char *buffer,
                               Completion done, void *data)
{
  (void)handle, (void)start, (void)count, (void)buffer, (void)done, (void)data;
  return NOT_SUPPORTED;
}

VixError VixDiskLib_Flush(void *handle)
{
  (void)handle;
  return OK;
}

VixError VixDiskLib_Create(void *connection, const char *path, const void *params, void *progress, void *data)
{
  (void)connection, (void)path, (void)params, (void)progress, (void)data;
  return NOT_SUPPORTED;
}
