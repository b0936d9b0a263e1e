/* Preloaded into wrk and h2load, which know no client certificates: presents one, never resumes a session, and counts both.
   OpenSSL's functions are declared here so that no development package is needed. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

typedef struct ssl_st SSL;
typedef struct ssl_ctx_st SSL_CTX;
typedef struct ssl_method_st SSL_METHOD;
typedef struct ssl_session_st SSL_SESSION;

#define SSL_FILETYPE_PEM 1

int SSL_CTX_use_certificate_chain_file(SSL_CTX *, const char *);
int SSL_CTX_use_PrivateKey_file(SSL_CTX *, const char *, int);
void SSL_CTX_set_cert_cb(SSL_CTX *, int (*)(SSL *, void *), void *);
int SSL_set_session(SSL *, SSL_SESSION *);
int SSL_session_reused(const SSL *);
int SSL_is_init_finished(const SSL *);

static long handshakes, presented, resumed;

static void *next(const char *name) {
  void *symbol = dlsym(RTLD_NEXT, name);
  if (symbol == NULL) {
    fprintf(stderr, "client-certificate: %s\n", dlerror());
    exit(1);
  }
  return symbol;
}

/* Called when the server has asked for a certificate. */
static int on_request(SSL *ssl, void *arg) {
  (void)ssl;
  (void)arg;
  __atomic_add_fetch(&presented, 1, __ATOMIC_RELAXED);
  return 1;
}

SSL_CTX *SSL_CTX_new(const SSL_METHOD *method) {
  SSL_CTX *(*real)(const SSL_METHOD *) = next("SSL_CTX_new");
  SSL_CTX *context = real(method);
  const char *certificate = getenv("BENCH_CERTIFICATE");
  const char *key = getenv("BENCH_KEY");
  if (context == NULL || certificate == NULL || key == NULL ||
      SSL_CTX_use_certificate_chain_file(context, certificate) != 1 ||
      SSL_CTX_use_PrivateKey_file(context, key, SSL_FILETYPE_PEM) != 1) {
    fprintf(stderr, "client-certificate: BENCH_CERTIFICATE or BENCH_KEY cannot be used\n");
    exit(1);
  }
  SSL_CTX_set_cert_cb(context, on_request, NULL);
  return context;
}

/* wrk calls SSL_connect and h2load SSL_do_handshake; one may call the other. */
static int shake(SSL *ssl, int (*real)(SSL *)) {
  static __thread int within;
  if (within || SSL_is_init_finished(ssl)) return real(ssl);
  within = 1;
  int result = real(ssl);
  within = 0;
  if (result == 1) {
    __atomic_add_fetch(&handshakes, 1, __ATOMIC_RELAXED);
    if (SSL_session_reused(ssl)) __atomic_add_fetch(&resumed, 1, __ATOMIC_RELAXED);
  }
  return result;
}

int SSL_connect(SSL *ssl) {
  static int (*real)(SSL *);
  if (real == NULL) real = next("SSL_connect");
  return shake(ssl, real);
}

int SSL_do_handshake(SSL *ssl) {
  static int (*real)(SSL *);
  if (real == NULL) real = next("SSL_do_handshake");
  return shake(ssl, real);
}

/* wrk clears and reuses the object when it reconnects, which would offer the session again. */
int SSL_clear(SSL *ssl) {
  static int (*real)(SSL *);
  if (real == NULL) real = next("SSL_clear");
  int result = real(ssl);
  SSL_set_session(ssl, NULL);
  return result;
}

__attribute__((destructor)) static void report(void) {
  fprintf(stderr, "handshakes=%ld presented=%ld resumed=%ld\n", handshakes, presented, resumed);
}
