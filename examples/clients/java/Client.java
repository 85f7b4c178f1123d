import io.grpc.Grpc;
import io.grpc.ManagedChannel;
import io.grpc.TlsChannelCredentials;
import java.io.File;
import java.util.concurrent.TimeUnit;
import lanyard.v1.BindingServiceGrpc;
import lanyard.v1.TokenServiceGrpc;

/**
 * Gets a token over mutual TLS, and uses it.
 *
 * <pre>mvn -q compile exec:java -Dexec.args="SERVER CA CERT KEY AUDIENCE"</pre>
 *
 * SERVER is host:port of Lanyard's mTLS listener, the next three are PEM files (the key in PKCS #8), AUDIENCE is the
 * token's audience. Prints the decision on a use of the token over the connection that it was issued on, as JSON.
 */
public final class Client {
    public static void main(String[] args) throws Exception {
        // The token is bound to this certificate: it is used over connections with the same one. When the files change,
        // make a new channel and get a new token.
        var credentials = TlsChannelCredentials.newBuilder()
                .trustManager(new File(args[1]))
                .keyManager(new File(args[2]), new File(args[3]))
                .build();
        ManagedChannel channel = Grpc.newChannelBuilder(args[0], credentials).build();
        try {
            // A caller with an X509-SVID may leave out client_id; others must send it. Get the next token at two thirds of this
            // one's life.
            var tokens = TokenServiceGrpc.newBlockingStub(channel).withDeadlineAfter(10, TimeUnit.SECONDS);
            var wanted = lanyard.v1.Token.IssueTokenRequest.newBuilder().addAudience(args[4]).build();
            var issued = tokens.issueToken(wanted);

            // Calls of a protected resource carry the token in the metadata `authorization: Bearer …`, as a CallCredentials or by
            // MetadataUtils.newAttachHeadersInterceptor. The proxy in front of that resource asks Lanyard about the
            // caller's connection; here the client asks about its own.
            var bindings = BindingServiceGrpc.newBlockingStub(channel).withDeadlineAfter(10, TimeUnit.SECONDS);
            var use = lanyard.v1.Binding.ValidateBindingRequest.newBuilder()
                    .setAccessToken(issued.getAccessToken())
                    .setAudience(args[4])
                    .setOwnConnection(true)
                    .build();
            var verdict = bindings.validateBinding(use);
            System.out.printf(
                    "{\"scope\": \"%s\", \"decision\": \"%s\", \"match\": \"%s\"}%n",
                    issued.getScope(), verdict.getDecision(), verdict.getMatch());
        } finally {
            channel.shutdownNow();
        }
    }
}
