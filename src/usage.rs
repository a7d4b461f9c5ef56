//! Resources as all instances use them together: looking, changing limits, taking permits away.

use std::time::Duration;

use crate::admin::Admin;
use crate::error::ResourceError;
use crate::event::Usage;
use crate::instance::Instance;
use crate::net::rt::clock::deadline;

macro_rules! usage {
    ($holder:ident) => {
        impl $holder {
            /// Who uses how much of which resource; all resources in the order of their names.
            ///
            /// Blocks for one round trip to the supervisor; after an election until all survivors
            /// have said what they hold. At most for `timeout`.
            ///
            /// # Errors
            ///
            /// [`ResourceError::Ask`].
            pub fn usage(&self, timeout: Duration) -> Result<Vec<Usage>, ResourceError> {
                self.asker.usage(None, deadline(timeout))
            }

            /// The same for one resource.
            ///
            /// # Errors
            ///
            /// [`ResourceError::Unknown`] and [`ResourceError::Ask`].
            pub fn usage_of(
                &self,
                resource: &str,
                timeout: Duration,
            ) -> Result<Usage, ResourceError> {
                let found = self.asker.usage(Some(resource), deadline(timeout))?;
                found
                    .into_iter()
                    .next()
                    .ok_or_else(|| ResourceError::Unknown { resource: resource.into() })
            }

            /// Changes a resource's limit, for all instances and until it is changed again; what
            /// was declared counts no more. It survives the supervisor, as a setting does.
            ///
            /// Below what is in use nothing is taken away; nothing is granted until the use has
            /// fallen. Requests larger than the new limit are refused.
            ///
            /// Blocks until all connected instances have been told, at most for `timeout`.
            ///
            /// # Errors
            ///
            /// Any [`ResourceError`].
            pub fn set_limit(
                &self,
                resource: &str,
                limit: u64,
                timeout: Duration,
            ) -> Result<(), ResourceError> {
                self.asker.set_limit(resource, limit, deadline(timeout))
            }

            /// Takes all permits of `resource` away from the instance `holder` (`main`: the
            /// supervisor); gives how many they were.
            ///
            /// The holder gets an event, and its permits are no longer valid; their units are free
            /// at once. It is not made to stop using what the permits were for.
            ///
            /// Blocks for one round trip, at most for `timeout`.
            ///
            /// # Errors
            ///
            /// Any [`ResourceError`].
            pub fn revoke(
                &self,
                resource: &str,
                holder: &str,
                timeout: Duration,
            ) -> Result<u64, ResourceError> {
                self.asker.revoke(resource, holder, deadline(timeout))
            }
        }
    };
}

usage!(Instance);
usage!(Admin);
