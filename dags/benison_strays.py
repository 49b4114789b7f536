"""Report manifests that no DAG file reads, as the import error of this Airflow DAG file; it makes no DAG.

They may be of an earlier release of Benison, which read all manifests with one DAG file, or no manifests at all.
"""

from benison_dags import ManifestError, folder, strays

if messages := list(strays(folder())):
    raise ManifestError("\n".join(messages))
