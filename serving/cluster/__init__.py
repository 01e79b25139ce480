"""Ray and HAProxy, and nothing else imports Ray: replicas, the coordinator, options."""
