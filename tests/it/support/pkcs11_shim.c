/* A PKCS#11 module that passes all calls to SoftHSM, but for what the files in FAULTS ask for:
 * removed: the token is gone, as when somebody pulls it out; lost_once: the same for the next signature alone;
 * final_try: one more wrong PIN would lock it; failing_login: the login fails, nobody knows why;
 * corrupt: signatures have a wrong byte; hang: a signature waits until the file is gone; slow_pairs: a key pair does.
 * Each call of C_Login adds a byte to the file logins, and each of C_GenerateKeyPair one to pairs. */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef unsigned long word;
/* CK_FUNCTION_LIST of version 2.40: a version, and the functions in the order of the standard. */
typedef struct { unsigned char major, minor; void *calls[68]; } functions;

enum { GET_FUNCTION_LIST = 3, GET_SLOT_LIST = 4, GET_TOKEN_INFO = 6, OPEN_SESSION = 12, GET_SESSION_INFO = 15,
       LOGIN = 18, FIND_INIT = 26, SIGN_INIT = 42, SIGN = 43, GENERATE_KEY_PAIR = 59 };
enum { FUNCTION_FAILED = 6, DEVICE_REMOVED = 0x32, FINAL_TRY = 0x20000, FLAGS_AT = 96 };

static functions own, *real;

static const char *path(const char *name) {
    static __thread char text[4096];
    snprintf(text, sizeof text, "%s/%s", getenv("FAULTS"), name);
    return text;
}

static int is(const char *name) { return access(path(name), F_OK) == 0; }

static word get_slot_list(unsigned char present, word *slots, word *count) {
    if (is("removed")) { *count = 0; return 0; }
    return ((word (*)(unsigned char, word *, word *))real->calls[GET_SLOT_LIST])(present, slots, count);
}

static word get_token_info(word slot, unsigned char *info) {
    if (is("removed")) return DEVICE_REMOVED;
    word done = ((word (*)(word, unsigned char *))real->calls[GET_TOKEN_INFO])(slot, info);
    word flags;
    memcpy(&flags, info + FLAGS_AT, sizeof flags);
    if (is("final_try")) flags |= FINAL_TRY;
    memcpy(info + FLAGS_AT, &flags, sizeof flags);
    return done;
}

static word open_session(word slot, word flags, void *application, void *notify, word *session) {
    if (is("removed")) return DEVICE_REMOVED;
    return ((word (*)(word, word, void *, void *, word *))real->calls[OPEN_SESSION])(slot, flags, application, notify, session);
}

static word get_session_info(word session, void *info) {
    if (is("removed")) return DEVICE_REMOVED;
    return ((word (*)(word, void *))real->calls[GET_SESSION_INFO])(session, info);
}

static void count(const char *name) {
    FILE *file = fopen(path(name), "a");
    if (file) { fputc('x', file); fclose(file); }
}

static word login(word session, word user, unsigned char *pin, word length) {
    count("logins");
    if (is("failing_login")) return FUNCTION_FAILED;
    return ((word (*)(word, word, unsigned char *, word))real->calls[LOGIN])(session, user, pin, length);
}

static word find_init(word session, void *template, word count) {
    if (is("removed")) return DEVICE_REMOVED;
    return ((word (*)(word, void *, word))real->calls[FIND_INIT])(session, template, count);
}

static word sign_init(word session, void *mechanism, word key) {
    if (is("removed") || unlink(path("lost_once")) == 0) return DEVICE_REMOVED;
    return ((word (*)(word, void *, word))real->calls[SIGN_INIT])(session, mechanism, key);
}

static word sign(word session, unsigned char *data, word length, unsigned char *signature, word *signed_length) {
    while (signature && is("hang")) usleep(10000);
    if (is("removed")) return DEVICE_REMOVED;
    word done = ((word (*)(word, unsigned char *, word, unsigned char *, word *))real->calls[SIGN])(session, data, length, signature, signed_length);
    if (signature && is("corrupt")) signature[7] ^= 1;
    return done;
}

static word generate_key_pair(word session, void *mechanism, void *public, word public_count, void *private,
                              word private_count, word *public_key, word *private_key) {
    count("pairs");
    while (is("slow_pairs")) usleep(10000);
    return ((word (*)(word, void *, void *, word, void *, word, word *, word *))real->calls[GENERATE_KEY_PAIR])(
        session, mechanism, public, public_count, private, private_count, public_key, private_key);
}

word C_GetFunctionList(functions **list) {
    void *library = dlopen(getenv("SOFTHSM"), RTLD_NOW);
    if (!library) return 5;
    word (*get)(functions **) = (word (*)(functions **))dlsym(library, "C_GetFunctionList");
    word done = get(&real);
    if (done) return done;
    own = *real;
    own.calls[GET_FUNCTION_LIST] = C_GetFunctionList;
    own.calls[GET_SLOT_LIST] = get_slot_list;
    own.calls[GET_TOKEN_INFO] = get_token_info;
    own.calls[OPEN_SESSION] = open_session;
    own.calls[GET_SESSION_INFO] = get_session_info;
    own.calls[LOGIN] = login;
    own.calls[FIND_INIT] = find_init;
    own.calls[SIGN_INIT] = sign_init;
    own.calls[SIGN] = sign;
    own.calls[GENERATE_KEY_PAIR] = generate_key_pair;
    *list = &own;
    return 0;
}
