import com.nimbusds.jose.JOSEException;
import com.nimbusds.jose.JWSAlgorithm;
import com.nimbusds.jose.JWSVerifier;
import com.nimbusds.jose.crypto.ECDSAVerifier;
import com.nimbusds.jose.crypto.RSASSAVerifier;
import com.nimbusds.jose.jwk.JWK;
import com.nimbusds.jwt.JWTClaimsSet;
import com.nimbusds.jwt.SignedJWT;
import io.grpc.Grpc;
import io.grpc.ManagedChannel;
import io.grpc.TlsChannelCredentials;
import java.io.BufferedReader;
import java.io.File;
import java.io.InputStreamReader;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.GeneralSecurityException;
import java.security.MessageDigest;
import java.security.cert.CertificateFactory;
import java.security.cert.X509Certificate;
import java.text.ParseException;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.Base64;
import java.util.Date;
import java.util.List;
import java.util.Map;
import java.util.Set;

/**
 * Verifies access tokens without asking Lanyard about each.
 *
 * <pre>mvn -q compile exec:java -Dexec.args="SERVER CA CERT KEY ISSUER MAX-AGE"</pre>
 *
 * SERVER is host:port of Lanyard's mTLS listener, the next three are PEM files (the certificate has the role Edge or Proxy; the key
 * in PKCS #8), ISSUER is the issuer of the tokens, MAX-AGE how old the revocations may be, such as PT1M. For each line of the input,
 * TOKEN CERTIFICATE-FILE AUDIENCE SCOPE, it prints "allowed" with the client_id, or "refused" with a code. A service calls verify
 * with what it has of its own connection: SSLSession.getPeerCertificates()[0].
 */
public final class Verify {
    /** How far in the future nbf and iat may be. exp has no leeway. */
    private static final Duration LEEWAY = Duration.ofSeconds(5);

    static final class Refused extends Exception {
        Refused(String code) {
            super(code);
        }
    }

    private final Revocations revocations;
    private final String issuer;

    Verify(Revocations revocations, String issuer) {
        this.revocations = revocations;
        this.issuer = issuer;
    }

    /**
     * Returns the client_id of a token that may be used over a connection with this certificate. The peer has proved that it has the
     * certificate's key, which TLS does.
     */
    String verify(String text, X509Certificate certificate, String audience, String scope)
            throws Refused, GeneralSecurityException {
        if (revocations.isStale()) throw new Refused("SNAPSHOT_STALE");
        SignedJWT token;
        try {
            token = SignedJWT.parse(text);
        } catch (ParseException malformed) {
            throw new Refused("TOKEN_MALFORMED");
        }
        var header = token.getHeader();
        String typ = header.getType() == null ? "" : header.getType().getType().toLowerCase();
        if (!typ.equals("at+jwt") && !typ.equals("application/at+jwt")) throw new Refused("TOKEN_TYPE");
        JWK key = header.getKeyID() == null ? null : revocations.key(header.getKeyID());
        if (key == null || !header.getAlgorithm().equals(key.getAlgorithm())) throw new Refused("UNKNOWN_KEY");
        try {
            if (!token.verify(verifier(key))) throw new Refused("BAD_SIGNATURE");
            return claims(token.getJWTClaimsSet(), certificate, audience, scope);
        } catch (ParseException | JOSEException malformed) {
            throw new Refused("TOKEN_MALFORMED");
        }
    }

    private static JWSVerifier verifier(JWK key) throws JOSEException {
        return switch (JWSAlgorithm.parse(key.getAlgorithm().getName()).getName()) {
            case "ES256" -> new ECDSAVerifier(key.toECKey());
            case "RS256" -> new RSASSAVerifier(key.toRSAKey());
            // For keys.algorithm EdDSA: Ed25519Verifier, which needs com.google.crypto.tink besides.
            default -> throw new JOSEException("another algorithm");
        };
    }

    private String claims(JWTClaimsSet claims, X509Certificate certificate, String audience, String scope)
            throws Refused, ParseException, GeneralSecurityException {
        Instant now = Instant.now();
        if (!issuer.equals(claims.getIssuer())) throw new Refused("WRONG_ISSUER");
        Date expires = claims.getExpirationTime();
        if (expires == null || !now.isBefore(expires.toInstant())) throw new Refused("TOKEN_EXPIRED");
        Date issued = claims.getIssueTime();
        Date notBefore = claims.getNotBeforeTime();
        Date latest = Date.from(now.plus(LEEWAY));
        if (issued == null || issued.after(latest) || notBefore == null || notBefore.after(latest)) {
            throw new Refused("TOKEN_NOT_YET_VALID");
        }
        byte[] digest = MessageDigest.getInstance("SHA-256").digest(certificate.getEncoded());
        String presented = Base64.getUrlEncoder().withoutPadding().encodeToString(digest);
        Map<String, Object> cnf = claims.getJSONObjectClaim("cnf");
        String bound = cnf != null && cnf.get("x5t#S256") instanceof String thumbprint ? thumbprint : "";
        var tokens = tokens(claims, certificate);
        tokens.addAll(List.of("certificate " + presented, "certificate " + bound));
        if (revocations.revokes(tokens, issued.toInstant().getEpochSecond(), now.getEpochSecond())) {
            throw new Refused("REVOKED");
        }
        if (!claims.getAudience().contains(audience)) throw new Refused("WRONG_AUDIENCE");
        // Somebody acts for somebody else: not here.
        if (claims.getClaim("act") != null) throw new Refused("DELEGATION_NOT_ACCEPTED");
        if (bound.isEmpty() || cnf.size() != 1) throw new Refused("NOT_BOUND");
        if (now.isAfter(certificate.getNotAfter().toInstant()) || now.isBefore(certificate.getNotBefore().toInstant())) {
            throw new Refused("CERTIFICATE_EXPIRED");
        }
        if (!bound.equals(presented)) throw new Refused("CERTIFICATE_MISMATCH");
        String granted = claims.getStringClaim("scope");
        Set<String> scopes = granted == null ? Set.of() : Set.of(granted.split(" "));
        for (String wanted : scope.split(" ")) {
            if (!wanted.isEmpty() && !scopes.contains(wanted)) throw new Refused("INSUFFICIENT_SCOPE");
        }
        return claims.getStringClaim("client_id");
    }

    /** What may be revoked of a token: itself, its client, its registration, and each SPIFFE ID of the client and the certificate. */
    private static List<String> tokens(JWTClaimsSet claims, X509Certificate certificate)
            throws ParseException, GeneralSecurityException {
        String clientId = claims.getStringClaim("client_id");
        List<String> tokens = new ArrayList<>(List.of(
                "all",
                "jti " + claims.getJWTID(),
                "client " + clientId,
                "registration " + claims.getStringClaim("lanyard_creation")));
        List<String> ids = new ArrayList<>(List.of(clientId));
        var names = certificate.getSubjectAlternativeNames();
        for (List<?> name : names == null ? List.<List<?>>of() : names) {
            // uniformResourceIdentifier
            if (name.get(0).equals(6)) ids.add((String) name.get(1));
        }
        for (String id : ids) {
            if (!id.startsWith("spiffe://")) continue;
            tokens.add("client " + id);
            tokens.add("domain " + id.substring("spiffe://".length()).split("/")[0]);
            for (int at = "spiffe://".length(); at < id.length() - 1; at++) {
                if (id.charAt(at) == '/') tokens.add("below " + id.substring(0, at + 1));
            }
        }
        return tokens;
    }

    public static void main(String[] args) throws Exception {
        var credentials = TlsChannelCredentials.newBuilder()
                .trustManager(new File(args[1]))
                .keyManager(new File(args[2]), new File(args[3]))
                .build();
        ManagedChannel channel = Grpc.newChannelBuilder(args[0], credentials).build();
        var revocations = new Revocations(args[4], Duration.parse(args[5]));
        var following = new Thread(() -> {
            try {
                revocations.follow(channel);
            } catch (InterruptedException stopped) {
                Thread.currentThread().interrupt();
            }
        });
        following.setDaemon(true);
        following.start();
        for (int tries = 0; tries < 50 && revocations.isStale(); tries++) Thread.sleep(100);
        var verify = new Verify(revocations, args[4]);
        var certificates = CertificateFactory.getInstance("X.509");
        var lines = new BufferedReader(new InputStreamReader(System.in));
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            String[] use = line.split(" ", 4);
            try (var file = Files.newInputStream(Path.of(use[1]))) {
                var certificate = (X509Certificate) certificates.generateCertificate(file);
                System.out.println("allowed " + verify.verify(use[0], certificate, use[2], use[3]));
            } catch (Refused refused) {
                System.out.println("refused " + refused.getMessage());
            }
        }
        channel.shutdownNow();
    }
}
