"""MLflow tracking that survives an absent server and a killed process.

``MLflowTracking`` (a visualizer backend) writes records to a journal in the work dir,
``TrackingHook`` adds what the runner knows, a background thread sends the journal.
"""
from .backend import MLflowTracking
from .delivery import Delivery
from .hook import TrackingHook, get_backend, guard
from .journal import Journal, find_folders, find_journals
from .sender import Sender, sync, sync_uri
from .store import ServerAway, hide_credentials
from .values import redact

__all__ = ['Delivery', 'Journal', 'MLflowTracking', 'Sender', 'ServerAway',
           'TrackingHook', 'find_folders', 'find_journals', 'get_backend', 'guard',
           'hide_credentials', 'redact', 'sync', 'sync_uri']
