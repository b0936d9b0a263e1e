/** Reason codes of Kubernetes: of what is asked of an API server, and of interception in pods. */
export const kubeReasons = {
  ERR_KUBE_CONFIG: {
    what: 'Where the Kubernetes API server is, or how to authenticate to it, cannot be read.',
    remedy:
      'In a pod, mount the service account and its `kube-root-ca.crt`; elsewhere give a kubeconfig in KUBECONFIG. The message names what is missing.',
  },
  ERR_KUBE_UNREACHABLE: {
    what: 'The Kubernetes API server cannot be reached, or the connection to it broke.',
    remedy: 'Look whether the API server runs, and whether a NetworkPolicy lets this pod reach it; it is tried again by itself.',
  },
  ERR_KUBE_FORBIDDEN: {
    what: 'The Kubernetes API server knows us and refuses what was asked (401 or 403).',
    remedy: 'The message names verb and resource: grant them, `postern install` prints the roles that are needed.',
  },
  ERR_KUBE_CONFLICT: {
    what: 'An object was changed by somebody else since it was read (409).',
    remedy: 'It is read and written again by itself; repeated conflicts mean that two controllers fight over the object.',
  },
  ERR_KUBE_NOT_FOUND: {
    what: 'The object, or the kind of object, is not there (404).',
    remedy: 'If the message names a resource of `postern.dev`, apply the CRDs that `postern install` prints.',
  },
  ERR_KUBE_EXPIRED: {
    what: 'A watch asked to go on from a version that the API server has forgotten (410).',
    remedy: 'Nothing has to be done: everything is listed anew.',
  },
  ERR_KUBE_RESPONSE: {
    what: 'The Kubernetes API server answered with an error, or with something that cannot be read.',
    remedy: 'The message holds its own words; look into its log if they are not enough.',
  },
  ERR_REDIRECT_UNSUPPORTED: {
    what: 'This system does not tell where a redirected connection was going.',
    remedy: 'Use the interception mode `loopback`, or run on Linux.',
  },
  ERR_REDIRECT_TOOL: {
    what: 'Neither nftables nor iptables can be run, so nothing can be redirected.',
    remedy: 'Use an image that has one of them, or the interception mode `loopback`, which needs neither.',
  },
  ERR_REDIRECT_FAILED: {
    what: 'The kernel refused the rules that would redirect traffic to the sidecar.',
    remedy: 'The message holds its words: mostly a capability (NET_ADMIN, with iptables-legacy NET_RAW) or a kernel module is missing.',
  },
  ERR_CONTROLLER_SERVER: {
    what: 'What answers at the controller’s address is not the controller.',
    remedy: 'Look at `spec.mesh.peer`, and at the certificate of what listens there: the message says who it is.',
  },
  ERR_CONTROLLER_ANSWER: {
    what: 'What the controller answered is no snapshot.',
    remedy: 'Give sidecar and controller the same version; the snapshot in force stays in force until then.',
  },
} as const
