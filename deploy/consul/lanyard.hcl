# consul config write lanyard.hcl: sidecars speak HTTP/2 to Lanyard.
Kind     = "service-defaults"
Name     = "lanyard"
Protocol = "grpc"
