namespace Ingot.Tests;
