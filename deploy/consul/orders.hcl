# consul config write orders.hcl: has the sidecars of the service orders ask Lanyard about each request.
Kind     = "service-defaults"
Name     = "orders"                                 # CHANGE
Protocol = "http"
EnvoyExtensions = [
  {
    Name = "builtin/ext-authz"
    # Consul has no failure_mode_allow. Without this line requests pass while Lanyard does not answer.
    Required = true
    Arguments = {
      ProxyType    = "connect-proxy"
      ListenerType = "inbound"
      Config = {
        GrpcService = {
          # An upstream of orders: name it in its sidecar's registration.
          Target = { Service = { Name = "lanyard" }, Timeout = "250ms" }
        }
        # The whole certificate: evidence of the highest grade.
        IncludePeerCertificate = true
        # The default, 403, blames the client while Lanyard does not answer.
        StatusOnError = 503
      }
    }
  }
]
