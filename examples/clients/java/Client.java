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
 * SERVER is host:port of Lanyard's mTLS listener, the next three are PEM files (the key in PKCS #8), AUDIENCE is whom the
 * token is for. Prints the decision about a use of the token over the connection that it was got on, as JSON.
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
            // An X509-SVID says who asks; others name their client_id. Get the next token at two thirds of this one's life.
            var tokens = TokenServiceGrpc.newBlockingStub(channel).withDeadlineAfter(10, TimeUnit.SECONDS);
            var wanted = lanyard.v1.Token.IssueTokenRequest.newBuilder().addAudience(args[4]).build();
            var issued = tokens.issueToken(wanted);

            // Calls of a protected resource carry it in the metadata `authorization: Bearer …`, as a CallCredentials or by
            // MetadataUtils.newAttachHeadersInterceptor. What the proxy before that resource asks Lanyard, this asks about
            // its own connection.
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
