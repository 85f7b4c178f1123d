import java.io.ByteArrayInputStream;
import java.net.http.HttpClient;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.KeyFactory;
import java.security.KeyStore;
import java.security.PrivateKey;
import java.security.cert.Certificate;
import java.security.cert.CertificateFactory;
import java.security.spec.PKCS8EncodedKeySpec;
import java.util.Base64;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import javax.net.ssl.KeyManagerFactory;
import javax.net.ssl.SSLContext;
import javax.net.ssl.TrustManagerFactory;
import org.springframework.http.client.JdkClientHttpRequestFactory;
import org.springframework.http.converter.FormHttpMessageConverter;
import org.springframework.security.authentication.TestingAuthenticationToken;
import org.springframework.security.oauth2.client.ClientAuthorizationException;
import org.springframework.security.oauth2.client.OAuth2AuthorizationContext;
import org.springframework.security.oauth2.client.TokenExchangeOAuth2AuthorizedClientProvider;
import org.springframework.security.oauth2.client.endpoint.RestClientTokenExchangeTokenResponseClient;
import org.springframework.security.oauth2.client.http.OAuth2ErrorResponseErrorHandler;
import org.springframework.security.oauth2.client.registration.ClientRegistration;
import org.springframework.security.oauth2.core.AuthorizationGrantType;
import org.springframework.security.oauth2.core.ClientAuthenticationMethod;
import org.springframework.security.oauth2.core.OAuth2Token;
import org.springframework.security.oauth2.core.endpoint.OAuth2AccessTokenResponse;
import org.springframework.security.oauth2.core.http.converter.OAuth2AccessTokenResponseHttpMessageConverter;
import org.springframework.web.client.RestClient;
import tools.jackson.databind.ObjectMapper;

/**
 * A client of token exchange by Spring Security, which knows nothing of Lanyard.
 *
 *     SpringExchange TOKEN_URL CLIENT_ID NAME SUBJECT TYPE RESOURCE DIR
 *
 * DIR holds ca.pem, and NAME.pem with NAME-key.pem for the client. SUBJECT is exchanged as TYPE for RESOURCE. Prints what came out as
 * JSON.
 */
public class SpringExchange {
    static String tokenUrl, clientId, kind;
    static RestClient http;

    public static void main(String[] arguments) throws Exception {
        tokenUrl = arguments[0];
        clientId = arguments[1];
        String name = arguments[2], subject = arguments[3], resource = arguments[5];
        kind = arguments[4];
        Path directory = Path.of(arguments[6]);
        HttpClient client = HttpClient.newBuilder().sslContext(identity(directory, name)).build();
        http = RestClient.builder()
            .requestFactory(new JdkClientHttpRequestFactory(client))
            .messageConverters(converters -> {
                converters.clear();
                converters.add(new FormHttpMessageConverter());
                converters.add(new OAuth2AccessTokenResponseHttpMessageConverter());
            })
            .defaultStatusHandler(new OAuth2ErrorResponseErrorHandler())
            .build();
        Map<String, Object> reported = new LinkedHashMap<>();
        reported.put("exchanged", exchanged(subject, resource, "orders.read"));
        reported.put("scope", refusal(subject, resource, "orders.delete"));
        reported.put("target", refusal(subject, "https://stock.example", "orders.read"));
        reported.put("subject", refusal(subject + "x", resource, "orders.read"));
        System.out.println(new ObjectMapper().writeValueAsString(reported));
    }

    /** The provider that a Spring application has among its beans, told of the subject's type and of the resource. */
    static Map<String, Object> exchanged(String subject, String resource, String scope) {
        ClientRegistration registration = ClientRegistration.withRegistrationId("lanyard")
            .clientId(clientId)
            // The certificate of the connection authenticates (RFC 8705 section 2): no secret is sent, and client_id is.
            .clientAuthenticationMethod(ClientAuthenticationMethod.NONE)
            .authorizationGrantType(AuthorizationGrantType.TOKEN_EXCHANGE)
            .tokenUri(tokenUrl)
            .scope(scope)
            .build();
        RestClientTokenExchangeTokenResponseClient endpoint = new RestClientTokenExchangeTokenResponseClient();
        endpoint.setRestClient(http);
        endpoint.setParametersCustomizer(parameters -> {
            parameters.set("subject_token_type", kind);
            parameters.set("resource", resource);
        });
        Map<String, Object> answer = new LinkedHashMap<>();
        TokenExchangeOAuth2AuthorizedClientProvider provider = new TokenExchangeOAuth2AuthorizedClientProvider();
        provider.setSubjectTokenResolver(context -> (OAuth2Token) () -> subject);
        provider.setAccessTokenResponseClient(request -> {
            OAuth2AccessTokenResponse response = endpoint.getTokenResponse(request);
            answer.put("issued_token_type", response.getAdditionalParameters().get("issued_token_type"));
            return response;
        });
        OAuth2AuthorizationContext context = OAuth2AuthorizationContext.withClientRegistration(registration)
            .principal(new TestingAuthenticationToken("caller", null, "any"))
            .build();
        var token = provider.authorize(context).getAccessToken();
        answer.put("access_token", token.getTokenValue());
        answer.put("token_type", token.getTokenType().getValue());
        answer.put("scope", String.join(" ", token.getScopes()));
        return answer;
    }

    static String refusal(String subject, String resource, String scope) {
        try {
            return String.valueOf(exchanged(subject, resource, scope));
        } catch (ClientAuthorizationException refused) {
            return refused.getError().getErrorCode();
        }
    }

    static SSLContext identity(Path directory, String name) throws Exception {
        KeyStore own = KeyStore.getInstance("PKCS12");
        own.load(null, null);
        String pem = Files.readString(directory.resolve(name + "-key.pem")).replaceAll("-----[A-Z ]+-----", "");
        PKCS8EncodedKeySpec pkcs8 = new PKCS8EncodedKeySpec(Base64.getMimeDecoder().decode(pem));
        PrivateKey key = KeyFactory.getInstance("EC").generatePrivate(pkcs8);
        own.setKeyEntry("own", key, new char[0], certificates(directory.resolve(name + ".pem")).toArray(new Certificate[0]));
        KeyManagerFactory keys = KeyManagerFactory.getInstance(KeyManagerFactory.getDefaultAlgorithm());
        keys.init(own, new char[0]);
        KeyStore roots = KeyStore.getInstance("PKCS12");
        roots.load(null, null);
        for (Certificate root : certificates(directory.resolve("ca.pem"))) {
            roots.setCertificateEntry("root " + roots.size(), root);
        }
        TrustManagerFactory trust = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
        trust.init(roots);
        SSLContext context = SSLContext.getInstance("TLS");
        context.init(keys.getKeyManagers(), trust.getTrustManagers(), null);
        return context;
    }

    static List<Certificate> certificates(Path file) throws Exception {
        CertificateFactory factory = CertificateFactory.getInstance("X.509");
        return List.copyOf(factory.generateCertificates(new ByteArrayInputStream(Files.readAllBytes(file))));
    }
}
