"""The link to Airflow: manifests, the trigger form, the REST API, runs that are followed there, and span events."""
