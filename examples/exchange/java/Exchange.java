import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.net.URI;
import java.net.URLEncoder;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.KeyFactory;
import java.security.KeyStore;
import java.security.PrivateKey;
import java.security.cert.Certificate;
import java.security.cert.CertificateFactory;
import java.security.spec.PKCS8EncodedKeySpec;
import java.time.Duration;
import java.util.Base64;
import java.util.List;
import java.util.Map;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import javax.net.ssl.KeyManagerFactory;
import javax.net.ssl.SSLContext;
import javax.net.ssl.TrustManagerFactory;

/**
 * A service that acts for its callers: it exchanges the receipt of each request for a token of its own (RFC 8693).
 *
 *     java Exchange.java PORT TOKEN_URL CA CERT KEY CLIENT_ID AUDIENCE SCOPE
 *
 * PORT is where its proxy reaches it on this machine. TOKEN_URL is Lanyard's token endpoint, the next three are PEM files, KEY of an EC
 * key in PKCS #8. CLIENT_ID is this service's own, AUDIENCE and SCOPE are what it needs of the next service. Needs the JDK alone.
 */
public class Exchange {
    static String tokenUrl, ca, cert, key, clientId, audience, scope;

    public static void main(String[] arguments) throws Exception {
        List<String> values = List.of(arguments);
        tokenUrl = values.get(1);
        ca = values.get(2);
        cert = values.get(3);
        key = values.get(4);
        clientId = values.get(5);
        audience = values.get(6);
        scope = values.get(7);
        InetSocketAddress address = new InetSocketAddress("127.0.0.1", Integer.parseInt(values.get(0)));
        HttpServer server = HttpServer.create(address, 0);
        server.createContext("/", Exchange::serve);
        server.start();
        System.out.println("listening");
    }

    static void serve(HttpExchange request) throws IOException {
        // The proxy in front writes this header, and takes out what a client sent under that name.
        String receipt = request.getRequestHeaders().getFirst("x-lanyard-receipt");
        if (receipt == null) {
            reply(request, 403, "error", "no receipt");
            return;
        }
        try {
            String token = exchange(receipt);
            if (member(token, "access_token") == null) {
                reply(request, 403, "error", member(token, "error"));
                return;
            }
            // Here it calls the next service, with this certificate and `Authorization: Bearer`, and forgets the token: it
            // is for this caller alone.
            reply(request, 200, "scope", member(token, "scope"));
        } catch (Exception error) {
            error.printStackTrace();
            reply(request, 502, "error", "no answer");
        }
    }

    /** The answer of the token endpoint: a token that speaks for the caller, or the error of RFC 6749 section 5.2. */
    static String exchange(String receipt) throws Exception {
        Map<String, String> form = Map.of(
            "grant_type", "urn:ietf:params:oauth:grant-type:token-exchange",
            "client_id", clientId,
            "subject_token", receipt,
            "subject_token_type", "urn:lanyard:params:oauth:token-type:presentation-receipt",
            "resource", audience,
            "scope", scope);
        String body = form.entrySet().stream()
            .map(one -> one.getKey() + "=" + URLEncoder.encode(one.getValue(), StandardCharsets.UTF_8))
            .collect(Collectors.joining("&"));
        HttpRequest request = HttpRequest.newBuilder(URI.create(tokenUrl))
            .timeout(Duration.ofSeconds(10))
            .header("content-type", "application/x-www-form-urlencoded")
            .POST(HttpRequest.BodyPublishers.ofString(body))
            .build();
        // Made for each exchange, since the certificate is renewed. The token is bound to it.
        HttpClient client = HttpClient.newBuilder().sslContext(identity()).build();
        return client.send(request, HttpResponse.BodyHandlers.ofString()).body();
    }

    static SSLContext identity() throws Exception {
        KeyStore own = KeyStore.getInstance("PKCS12");
        own.load(null, null);
        byte[] pkcs8 = Base64.getMimeDecoder().decode(Files.readString(Path.of(key)).replaceAll("-----[A-Z ]+-----", ""));
        PrivateKey privateKey = KeyFactory.getInstance("EC").generatePrivate(new PKCS8EncodedKeySpec(pkcs8));
        own.setKeyEntry("own", privateKey, new char[0], certificates(cert).toArray(new Certificate[0]));
        KeyManagerFactory keys = KeyManagerFactory.getInstance(KeyManagerFactory.getDefaultAlgorithm());
        keys.init(own, new char[0]);
        KeyStore roots = KeyStore.getInstance("PKCS12");
        roots.load(null, null);
        for (Certificate root : certificates(ca)) {
            roots.setCertificateEntry("root " + roots.size(), root);
        }
        TrustManagerFactory trust = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
        trust.init(roots);
        SSLContext context = SSLContext.getInstance("TLS");
        context.init(keys.getKeyManagers(), trust.getTrustManagers(), null);
        return context;
    }

    static List<Certificate> certificates(String file) throws Exception {
        byte[] pem = Files.readAllBytes(Path.of(file));
        CertificateFactory factory = CertificateFactory.getInstance("X.509");
        return List.copyOf(factory.generateCertificates(new ByteArrayInputStream(pem)));
    }

    /** A text in a flat JSON object of plain characters. A service of your own has a JSON library for it. */
    static String member(String json, String name) {
        Matcher found = Pattern.compile("\"" + name + "\":\"([^\"\\\\]*)\"").matcher(json);
        return found.find() ? found.group(1) : null;
    }

    static void reply(HttpExchange request, int status, String name, String value) throws IOException {
        byte[] body = ("{\"" + name + "\":\"" + value + "\"}").getBytes(StandardCharsets.UTF_8);
        request.sendResponseHeaders(status, body.length);
        request.getResponseBody().write(body);
        request.close();
    }
}
