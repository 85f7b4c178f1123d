import com.nimbusds.jose.jwk.JWK;
import io.grpc.Channel;
import io.grpc.Status;
import io.grpc.stub.StreamObserver;
import java.time.Duration;
import java.time.Instant;
import java.util.HashMap;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.TimeUnit;
import lanyard.v1.Snapshot.RevocationEntries;
import lanyard.v1.Snapshot.RevocationEntry;
import lanyard.v1.Snapshot.RevokedTokens;
import lanyard.v1.Snapshot.WatchBeat;
import lanyard.v1.Snapshot.WatchProgress;
import lanyard.v1.Snapshot.WatchRevocationsRequest;
import lanyard.v1.Snapshot.WatchRevocationsResponse;
import lanyard.v1.Snapshot.WatchStart;
import lanyard.v1.SnapshotServiceGrpc;

/** The keys and the revocations of a server, as its stream sends them. */
final class Revocations {
    /** What was listed, and what has changed since. */
    private static final class Listed {
        long revision;
        final Map<String, JWK> keys = new HashMap<>();
        final Map<String, RevocationEntry> entries = new HashMap<>();
        /** By what they apply to, and their id. */
        final Map<String, Map<String, RevocationEntry>> byTokens = new HashMap<>();

        void apply(RevocationEntries changes) {
            for (RevocationEntry entry : changes.getRevocationsList()) {
                remove(entry.getId());
                if (entry.getTokensCount() > 0) entries.put(entry.getId(), entry);
                for (RevokedTokens tokens : entry.getTokensList()) {
                    byTokens.computeIfAbsent(name(tokens), name -> new HashMap<>()).put(entry.getId(), entry);
                }
            }
            for (var key : changes.getKeysList()) {
                keys.remove(key.getKid());
                try {
                    if (key.hasJwk()) keys.put(key.getKid(), JWK.parse(key.getJwk()));
                } catch (java.text.ParseException unknown) {
                    System.err.println("a key cannot be read: " + key.getKid());
                }
            }
            revision = Math.max(revision, changes.getRevision());
        }

        void remove(String id) {
            RevocationEntry removed = entries.remove(id);
            if (removed == null) return;
            for (RevokedTokens tokens : removed.getTokensList()) {
                byTokens.computeIfPresent(name(tokens), (name, ids) -> {
                    ids.remove(id);
                    return ids.isEmpty() ? null : ids;
                });
            }
        }

        /** Forgets what has ended. */
        void forget(long now) {
            entries.values().stream()
                    .filter(entry -> entry.hasExpires() && now >= entry.getExpires())
                    .map(RevocationEntry::getId)
                    .toList()
                    .forEach(this::remove);
        }

        /** Names some tokens. What it does not know stands for all. */
        static String name(RevokedTokens tokens) {
            return switch (tokens.getTokensCase()) {
                case JTI -> "jti " + tokens.getJti();
                case CLIENT_ID -> "client " + tokens.getClientId();
                case REGISTRATION -> "registration " + tokens.getRegistration();
                case CERTIFICATE -> "certificate " + tokens.getCertificate();
                case IDENTITIES -> "below " + tokens.getIdentities().replaceFirst("\\*$", "");
                case TRUST_DOMAIN -> "domain " + tokens.getTrustDomain();
                default -> "all";
            };
        }
    }

    /** A moment by two clocks: the monotonic one may stop while the machine sleeps, and the other one may be set. */
    private record Moment(long nanos, Instant wall) {
        static Moment now() {
            return new Moment(System.nanoTime(), Instant.now());
        }

        Duration age() {
            Duration monotonic = Duration.ofNanos(System.nanoTime() - nanos);
            Duration wall = Duration.between(this.wall, Instant.now());
            return monotonic.compareTo(wall) > 0 ? monotonic : wall;
        }
    }

    private final String issuer;
    private final Duration maxAge;
    private Listed present = new Listed();
    /** The copy has everything that had changed when this was asked, less the span by which the server was behind. */
    private Moment asked;
    private Duration behind = Duration.ZERO;

    Revocations(String issuer, Duration maxAge) {
        this.issuer = issuer;
        this.maxAge = maxAge;
    }

    /** Whether the copy is not there yet, or may be too old. */
    synchronized boolean isStale() {
        return asked == null || asked.age().plus(behind).compareTo(maxAge) > 0;
    }

    synchronized JWK key(String kid) {
        return present.keys.get(kid);
    }

    /** Whether one of these is revoked for a token that was issued at this second. */
    synchronized boolean revokes(Iterable<String> tokens, long issued, long now) {
        for (String one : tokens) {
            for (RevocationEntry entry : present.byTokens.getOrDefault(one, Map.of()).values()) {
                boolean ended = entry.hasExpires() && now >= entry.getExpires();
                if (!ended && (!entry.hasIssuedUntil() || issued <= entry.getIssuedUntil())) return true;
            }
        }
        return false;
    }

    /**
     * Follows one stream after the other. Each goes on after the revision of the one before. After ABORTED, and where the copy is of
     * no more use, everything is listed again.
     */
    void follow(Channel channel) throws InterruptedException {
        boolean list = true;
        while (true) {
            Status ended = new Stream(list).run(channel);
            System.err.println("the stream of revocations ended: " + ended);
            list = ended.getCode() == Status.Code.ABORTED || isStale();
            Thread.sleep(1000);
        }
    }

    private final class Stream implements StreamObserver<WatchRevocationsResponse> {
        private final boolean list;
        private final CompletableFuture<Status> ended = new CompletableFuture<>();
        private final Map<Long, Moment> beats = new ConcurrentHashMap<>();
        private volatile Moment heard = Moment.now();
        private volatile boolean progressed;
        private Listed listing;
        private Moment started;

        Stream(boolean list) {
            this.list = list;
        }

        Status run(Channel channel) throws InterruptedException {
            started = Moment.now();
            var context = io.grpc.Context.current().withCancellation();
            try {
                StreamObserver<WatchRevocationsRequest> requests =
                        context.call(() -> SnapshotServiceGrpc.newStub(channel).watchRevocations(this));
                var start = WatchStart.newBuilder();
                synchronized (Revocations.this) {
                    if (!list) start.setAfterRevision(present.revision);
                }
                requests.onNext(WatchRevocationsRequest.newBuilder().setStart(start).build());
                // A number each second; its answer says that everything has come that was known then.
                for (long number = 1; !ended.isDone(); number++) {
                    if (heard.age().toSeconds() > 10) return Status.DEADLINE_EXCEEDED;
                    if (progressed) {
                        beats.put(number, Moment.now());
                        beats.remove(number - 60);
                        var beat = WatchBeat.newBuilder().setNumber(number);
                        requests.onNext(WatchRevocationsRequest.newBuilder().setBeat(beat).build());
                    }
                    try {
                        ended.get(1, TimeUnit.SECONDS);
                    } catch (java.util.concurrent.TimeoutException goesOn) {
                        // The next beat.
                    }
                }
                return ended.get();
            } catch (InterruptedException stopped) {
                throw stopped;
            } catch (Exception failed) {
                return Status.fromThrowable(failed);
            } finally {
                context.cancel(null);
            }
        }

        @Override
        public void onNext(WatchRevocationsResponse message) {
            synchronized (Revocations.this) {
                switch (message.getResponseCase()) {
                    case STARTED -> {
                        String other = message.getStarted().getIssuer();
                        if (!other.equals(issuer)) throw new IllegalStateException("it is from another issuer: " + other);
                        if (!message.getStarted().getResumed()) listing = new Listed();
                    }
                    case LISTED -> {
                        heard = Moment.now();
                        listing.apply(message.getListed());
                    }
                    case CHANGED -> (listing == null ? present : listing).apply(message.getChanged());
                    case PROGRESS -> progress(message.getProgress());
                    default -> throw new IllegalStateException("it is not understood");
                }
            }
        }

        private void progress(WatchProgress progress) {
            heard = Moment.now();
            if (listing != null) {
                listing.revision = Math.max(listing.revision, progress.getRevision());
                // A replica that knows less than another one did is not believed while the copy is of use.
                if (listing.revision < present.revision && !isStale()) throw new IllegalStateException("the server is behind");
                present = listing;
                listing = null;
            }
            present.revision = Math.max(present.revision, progress.getRevision());
            present.forget(Instant.now().getEpochSecond());
            Moment sent = progress.hasBeat() ? beats.remove(progress.getBeat()) : progressed ? null : started;
            progressed = true;
            if (sent == null) return;
            // More than a day is too old for anyone; the number is unsigned.
            boolean old = Long.compareUnsigned(progress.getAgeMs(), 86_400_000) > 0;
            Duration behind = Duration.ofMillis(old ? 86_400_000 : progress.getAgeMs());
            if (asked == null || sent.age().plus(behind).compareTo(asked.age().plus(Revocations.this.behind)) < 0) {
                asked = sent;
                Revocations.this.behind = behind;
            }
        }

        @Override
        public void onError(Throwable error) {
            ended.complete(Status.fromThrowable(error));
        }

        @Override
        public void onCompleted() {
            ended.complete(Status.UNAVAILABLE);
        }
    }
}
