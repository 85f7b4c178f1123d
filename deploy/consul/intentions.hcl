# consul config write intentions.hcl: who may connect to Lanyard, where the default is to deny. A native service enforces
# intentions itself, and Lanyard does not: its own roles decide. These let the sidecars find the upstream.
Kind = "service-intentions"
Name = "lanyard"
Sources = [
  { Name = "orders", Action = "allow" },            # CHANGE: the services whose sidecars ask
  { Name = "checkout", Action = "allow" },          # CHANGE: the services that get tokens
]
